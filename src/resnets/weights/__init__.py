"""Weights: reading and writing them, and networks that have them."""
