"""Insight: what one network is and does."""
