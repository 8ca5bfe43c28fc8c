"""What is measured of a tensor, and what follows from it.

Takes arrays and columns of statistics, gives moments, histograms, slopes along depth and ratios. NumPy only: this is
the reference that every adapter's own kernels are held against.
"""
