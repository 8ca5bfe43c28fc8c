"""What every test shares: one thread for NumPy's and PyTorch's libraries, so that timings and sums repeat."""

import os

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

# The fast set draws fewer examples, others every time; the whole suite draws them all.
settings.register_profile("whole", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("fast" if "not slow" in config.getoption("markexpr") else "whole")
