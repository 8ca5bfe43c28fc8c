"""What the processes of an engine find on their machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["cores", "unless_set"]


def cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows tell only what the machine has
        return os.cpu_count() or 1


@contextmanager
def unless_set(name: str, value: str) -> Iterator[None]:
    """For a while, so that processes started meanwhile have it, a variable of the environment that was not there."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
