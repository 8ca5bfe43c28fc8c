"""What may be written after an option: each reads one value, or says what was found, what is needed and what to do."""

import math
import os
from enum import StrEnum
from pathlib import Path

from isometry.errors import IsometryError
from isometry.report.report import FORMS

__all__ = ["FailOn", "fail_on", "networks", "report_place", "seconds", "share_of_time", "step_distance"]

LEAST_SHARE = 1e-4
"""Below this share of step time hardly a step would ever be recorded."""

LEAST_NETS = 3
"""One network has no scatter."""


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


def networks(text: str) -> int:
    """``--nets``: how many networks are drawn."""
    try:
        nets = int(text)
    except ValueError:
        nets = 0
    if nets < LEAST_NETS:
        raise IsometryError(
            f"--nets {text}: a whole number of networks is needed, {LEAST_NETS} or more, for fewer have no scatter. "
            "Leave it out to draw as many as the time allows."
        )
    return nets


def seconds(text: str) -> float:
    """``--seconds``: how long a check may take."""
    return _time("--seconds", text, "Give 10, or leave it out.")


def limit(text: str) -> float:
    """``--limit``: how long a training may take."""
    return _time("--limit", text, "Without it, a training may take 600.")


def _time(option: str, text: str, advice: str) -> float:
    try:
        time = float(text)
    except ValueError:
        time = 0.0
    if not 0 < time < math.inf:
        raise IsometryError(f"{option} {text}: a time in seconds is needed, a number above 0. {advice}")
    return time


def fail_on(text: str) -> FailOn:
    """``--fail-on``: a severity."""
    if text not in set(FailOn):
        raise IsometryError(f"--fail-on {text}: one of {', '.join(FailOn)} is needed.")
    return FailOn(text)


def report_place(text: str) -> Path:
    """``--report``: a file that a report can be, refused before the work is done; or a folder that is there."""
    place = Path(text).absolute()  # a script may change its working directory
    if not place.is_dir() and place.suffix.lower() not in FORMS:
        raise IsometryError(
            f"--report {text}: a file that ends in one of {', '.join(FORMS)} is needed, or a folder that exists."
        )
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    if there != place and not there.is_dir():
        raise IsometryError(f"--report {text}: {there} is a file, so nothing can be put in it. Name another place.")
    if not os.access(there, os.W_OK):
        raise IsometryError(f"--report {text}: {there} cannot be written to. Name another place.")
    return place
