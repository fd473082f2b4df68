"""The same run again: does a result hold, and if not, what differs first."""
