"""What the arguments of theory must be, said where they are not."""

import math

from isometry.errors import IsometryError

__all__ = ["require_count", "require_deviation", "require_share", "require_variance"]


def require_deviation(name: str, value: float) -> float:
    """A standard deviation: a finite number that is not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise IsometryError(f"{name} = {value}: a standard deviation is needed, finite and not negative.")
    return float(value)


def require_variance(name: str, value: float) -> float:
    """A second moment: not negative; infinity is one."""
    if not value >= 0:
        raise IsometryError(f"{name} = {value}: a second moment is needed, a number that is not negative.")
    return float(value)


def require_share(name: str, value: float) -> float:
    """A probability that something is kept: above 0, at most 1."""
    if not 0 < value <= 1:
        raise IsometryError(f"{name} = {value}: a share above 0 and at most 1 is needed.")
    return float(value)


def require_count(name: str, value: int, *, least: int = 1) -> int:
    """A whole number of something, at least one."""
    if isinstance(value, bool) or int(value) != value or value < least:
        raise IsometryError(f"{name} = {value}: a whole number of at least {least} is needed.")
    return int(value)
