"""What the arguments of theory must be, said where they are not."""

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np

from isometry.errors import IsometryError

__all__ = ["is_number", "require_count", "require_counts", "require_deviation", "require_share", "require_variance"]


def is_number(value: object) -> bool:
    """A real number of Python or NumPy, no text."""
    return isinstance(value, Real)


def require_counts(name: str, values: object) -> tuple[int, ...]:
    """Whole numbers, at least one of them, each at least one."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise IsometryError(f"{name} = {values!r}: a list of whole numbers is needed, one for each layer.")
    counts = tuple(require_count(f"a number of {name}", value) for value in values)
    require_count(f"len({name})", len(counts))
    return counts


def require_deviation(name: str, value: float) -> float:
    """A standard deviation: a finite number that is not negative."""
    if not (is_number(value) and math.isfinite(value) and value >= 0):
        raise IsometryError(f"{name} = {value!r}: a standard deviation is needed, finite and not negative.")
    return float(value)


def require_variance(name: str, value: float) -> float:
    """A second moment: not negative; infinity is one."""
    if not (is_number(value) and value >= 0):
        raise IsometryError(f"{name} = {value!r}: a second moment is needed, a number that is not negative.")
    return float(value)


def require_share(name: str, value: float) -> float:
    """A probability that something is kept: above 0, at most 1."""
    if not (is_number(value) and 0 < value <= 1):
        raise IsometryError(f"{name} = {value!r}: a share above 0 and at most 1 is needed.")
    return float(value)


def require_count(name: str, value: int, *, least: int = 1) -> int:
    """A whole number of something, at least one."""
    if isinstance(value, bool) or not is_number(value) or int(value) != value or value < least:
        raise IsometryError(f"{name} = {value!r}: a whole number of at least {least} is needed.")
    return int(value)
