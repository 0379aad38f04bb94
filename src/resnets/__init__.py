"""Residual networks, from a folder of pictures to a trained network in use."""
