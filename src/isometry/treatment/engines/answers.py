"""What comes back of a task from another process: its result, what it raised, or word that the process died."""

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isometry.errors import IsometryError

__all__ = ["Died", "answer", "refusal", "result"]


@dataclass(frozen=True, slots=True)
class Died:
    """Stands in the place of a result where a process ended before its task did."""

    reason: str
    """In one line without its full stop."""


def answer(function: Callable[[Any], Any], task: bytes) -> bytes:
    """What the function gives for a packed task, or raises, ready to be sent."""
    try:
        return pickle.dumps((True, function(pickle.loads(task))))
    except Exception as fault:  # noqa: BLE001  it is raised again on the other side
        told = "".join(traceback.format_exception(fault))
        fault.add_note(f"In another process:\n{told}")
        try:
            packed = pickle.dumps((False, fault))
            pickle.loads(packed)  # exceptions with arguments of their own can often be written and not read
        except Exception:  # noqa: BLE001  then its text has to do
            return refusal(f"A training in another process failed.\n{told}")
        return packed


def refusal(words: str) -> bytes:
    """The answer that raises an ``IsometryError``."""
    return pickle.dumps((False, IsometryError(words)))


def result(packed: bytes) -> Any:
    """What an answer holds; what was raised there is raised here."""
    well, held = pickle.loads(packed)
    if not well:
        raise held
    return held
