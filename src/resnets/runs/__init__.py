"""What training writes and everything after it reads: the card and the folder that holds it."""
