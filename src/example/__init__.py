"""Yours: data functions and model functions, named in conf/ by `_target_`. A copy of the skeleton replaces this package."""
