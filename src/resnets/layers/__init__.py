"""The layers that residual blocks are made of."""
