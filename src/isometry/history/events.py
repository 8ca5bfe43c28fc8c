"""Reads what a run noted line by line: scalars and events."""

import json
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np

from isometry.errors import NotRecorded
from isometry.history.history import Series, last_of_each
from isometry.history.record import restored

__all__ = ["read_events"]

LARGEST_EVENT = 2**26
"""Longest line that is taken for an event. [bytes]"""


def read_events(path: Path) -> tuple[dict[str, Series], dict[str, list[dict[str, Any]]], int]:
    """Scalars, events by kind, and how many lines were damaged; a torn last line is none of these."""
    numbers: dict[str, tuple[list[int], list[float]]] = {}
    events: dict[str, list[dict[str, Any]]] = {}
    damaged = 0
    if not path.is_file():
        return {}, {}, 0
    try:
        with path.open("rb") as stream:
            for line in iter(lambda: stream.readline(LARGEST_EVENT), b""):
                entry = _event(line)
                if entry is None:
                    damaged += line.endswith(b"\n")
                elif entry["event"] == "scalars":
                    steps, values = numbers.setdefault(entry["name"], ([], []))
                    steps += entry["steps"]
                    values += entry["values"]
                else:
                    events.setdefault(entry.pop("event"), []).append(entry)
    except OSError as fault:
        raise NotRecorded(f"{path}: cannot be read ({fault.strerror}). Look at its permissions.") from None
    return {name: _series(steps, values) for name, (steps, values) in numbers.items()}, events, damaged


def _event(line: bytes) -> dict[str, Any] | None:
    """The event on a line; None where it is not one."""
    try:
        entry = restored(json.loads(line))
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("event"), str):
        return None
    if entry["event"] != "scalars":
        sound = _is_step(entry.get("step")) and all(map(_is_of_its_kind, entry.items()))
        return entry if sound else None
    steps, values = entry.get("steps"), entry.get("values")
    sound = (
        isinstance(entry.get("name"), str)
        and isinstance(steps, list)
        and isinstance(values, list)
        and len(steps) == len(values)
        and all(map(_is_step, steps))
        and all(isinstance(value, int | float) for value in values)
    )
    return entry if sound else None


_KINDS: dict[str, type | UnionType] = {
    "words": str,
    "layer": str,
    "signal": str,
    "direction": str,
    "kind": str,
    "name": str,
    "ending": str,
    "producer": bool,
    "classes": int,
    "steps": int,
    "recorded": int,
    "lowest": int,
    "zeros": int,
    "nan": int,
    "inf": int,
    "lr": float | int,
    "cost": float | int,
    "sharpness": float | int,
    "elapsed": float | int,
    "scale": float | int,
    "size": float | int,
    "largest": float | int,
    "formats": dict,
    "parameters": list,
    "counts": list,
    "rms": list,
    "targets": dict,
    "outputs": dict,
}
"""What the fields that this version knows must hold, if anything; whoever reads an event may rely on it."""


def _is_of_its_kind(item: tuple[str, Any]) -> bool:
    name, value = item
    if value is None or name not in _KINDS:
        return True
    if name == "counts":
        return isinstance(value, list) and all(isinstance(entry, int) and entry >= 0 for entry in value)
    if name == "parameters":
        return isinstance(value, list) and all(
            isinstance(entry, str)
            or (isinstance(entry, dict) and all(isinstance(text, str) for text in entry.values()))
            for entry in value
        )
    if name == "rms":
        return isinstance(value, list) and all(isinstance(entry, int | float | None) for entry in value)
    return isinstance(value, _KINDS[name])


def _is_step(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _series(steps: list[int], values: list[float]) -> Series:
    distinct, last = last_of_each(np.array(steps, dtype=np.int64))
    return Series(distinct, np.array(values, dtype=np.float64)[last])
