"""What may be written after an option: each reads one value, or says what was found, what is needed and what to do."""

from enum import StrEnum

from isometry.errors import IsometryError

__all__ = ["FailOn", "fail_on", "share_of_time", "step_distance"]

LEAST_SHARE = 1e-4
"""Below this share of step time hardly a step would ever be recorded."""


class FailOn(StrEnum):
    """From which severity on a finding makes the command fail."""

    NOTE = "note"
    SLOWS = "slows"
    HARMS = "harms"
    STOPS = "stops"
    NEVER = "never"


def share_of_time(text: str) -> float:
    """``--budget``: a share of step time."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not LEAST_SHARE <= share <= 1:
        raise IsometryError(
            f"--budget {text}: a share of step time is needed, a number from {LEAST_SHARE:g} to 1. "
            "Give 0.01 for 1 %, or leave it out."
        )
    return share


def step_distance(text: str) -> int:
    """``--every``: each how many steps one is recorded."""
    try:
        steps = int(text)
    except ValueError:
        steps = 0
    if steps < 1:
        raise IsometryError(
            f"--every {text}: a whole number of steps is needed, 1 or more. "
            "Give 1 to record every step, or leave it out to let the budget decide."
        )
    return steps


def fail_on(text: str) -> FailOn:
    """``--fail-on``: a severity."""
    if text not in set(FailOn):
        raise IsometryError(f"--fail-on {text}: one of {', '.join(FailOn)} is needed.")
    return FailOn(text)
