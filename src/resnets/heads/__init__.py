"""What several tasks put on a network; it knows stages, not networks."""
