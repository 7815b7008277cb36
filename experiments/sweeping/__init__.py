"""Many runs and what they say together: trials, where they run, and their statistics."""
