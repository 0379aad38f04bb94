"""What is asked of a finished network."""
