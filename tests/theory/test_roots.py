import math

import pytest

from isometry.theory.roots import root_between


@pytest.mark.parametrize(
    ("function", "low", "high", "root"),
    [
        (lambda x: x - 2, 0, 5, 2),
        (lambda x: x * x - 2, 0, 2, math.sqrt(2)),
        (lambda x: 2 - x * x, 2, 0, math.sqrt(2)),
        (lambda x: x**9, -1, 1.7, 0),
        (lambda x: math.exp(x) - 1e8, -5, 50, math.log(1e8)),
        (lambda x: -1 if x < 0.3 else 1, 0, 1, 0.3),
        (lambda x: x, 0, 1, 0),
    ],
)
def test_roots_are_found_to_the_last_digits(function, low, high, root):
    assert root_between(function, low, high) == pytest.approx(root, rel=1e-14, abs=1e-5 if root == 0 else 0)
