"""Which words go where: results to standard output, progress and trouble to standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["at_work", "say", "stdout_for_json"]


def say(words: str) -> None:
    """One line on standard error."""
    print(words, file=sys.stderr, flush=True)


@contextmanager
def at_work(words: str) -> Iterator[None]:
    """A line on the terminal for as long as it takes, then gone; nothing where stderr is a file or a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    print(words, end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r" + " " * len(words) + "\r", end="", file=sys.stderr, flush=True)


def stdout_for_json() -> TextIO:
    """Real standard output, for us alone: whatever else writes there, C code and children too, writes to stderr now."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(ours, "w", encoding="utf-8")
