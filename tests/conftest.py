"""What every test shares: one thread for NumPy's and PyTorch's libraries, so that timings and sums repeat."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
