"""Data and networks of the classics, in PyTorch."""
