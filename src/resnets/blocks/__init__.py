"""Residual blocks and stems: what a residual network is made of."""
