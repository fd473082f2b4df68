"""Many runs: repeated over seeds, summarised, compared."""
