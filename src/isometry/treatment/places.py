"""Reads where in the user's source the parts of a training were made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isometry.history.run import Run

__all__ = ["Making", "Place", "Places", "Standing", "Use", "read_places"]


@dataclass(frozen=True, slots=True)
class Place:
    """A call in a file; no other call ends where it does."""

    file: str
    """As it is named in the folder where the script was started."""
    line: int
    end_line: int
    """From 1."""
    end_column: int
    """In bytes of UTF-8, from 0."""


@dataclass(frozen=True, slots=True)
class Use:
    """A computation of φ."""

    layer: str | None
    """The one whose output φ takes first; a norm where one stands in between."""
    function: str
    module: str | None
    """Name of the module that is φ; or of the one whose forward() calls it."""
    type: str
    """Class of that module."""
    called: bool
    """Whether the user's code calls φ itself."""
    place: int | None
    """Number of the place where φ is called, or where the module that is φ was made."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A call that was under way in one function, and what the network is called there."""

    place: int | None
    model: str | None


@dataclass(frozen=True, slots=True)
class Making:
    """How an optimiser was made."""

    type: str
    rate: float | None
    groups: int
    frames: tuple[Standing, ...]
    """The call of its class first, then the calls around it, outwards."""
    stepped: Standing
    """Its first step."""


@dataclass(frozen=True, slots=True)
class Places:
    """What is known of the source of one training."""

    folder: Path
    listed: tuple[Place, ...]
    instances: tuple[int | None, ...]
    """By place: how many modules are made there, or how many have the forward() that it stands in."""
    modules: Mapping[str, int]
    """Of the network, by name: number of the place where each was made, as far as that is known."""
    uses: tuple[Use, ...]
    optimizers: tuple[Making, ...]
    digests: Mapping[str, str]
    """Of the files, as they were when they ran."""


def read_places(run: Run) -> Places | None:
    """What the last event ``places`` of a run tells; None where there is none, or none that can be read."""
    told = [event for event in run.history.events("places") if "places" in event]
    if not told:
        return None
    try:
        return _places(told[-1])
    except (KeyError, TypeError, ValueError, AttributeError):  # of a later version, or damaged: nothing is known then
        return None


def _places(event: Mapping[str, Any]) -> Places:
    places = Places(
        folder=Path(event["folder"]),
        listed=tuple(_place(*entry) for entry in event["places"]),
        instances=tuple(event["instances"]),
        modules={str(name): int(number) for name, number in event["modules"].items()},
        uses=tuple(Use(**{name: entry[name] for name in Use.__dataclass_fields__}) for entry in event["activations"]),
        optimizers=tuple(_making(entry) for entry in event["optimizers"]),
        digests=dict(event["files"]),
    )
    standings = [standing for one in places.optimizers for standing in (*one.frames, one.stepped)]
    numbers = [
        *places.modules.values(),
        *(use.place for use in places.uses),
        *(standing.place for standing in standings),
    ]
    if any(number is not None and not 0 <= number < len(places.listed) for number in numbers):
        raise ValueError("a place has a number that is none")
    if len(places.instances) != len(places.listed):
        raise ValueError("places and their instances are not as many")
    return places


def _place(file: str, line: int, end_line: int, column: int, end_column: int) -> Place:
    return Place(str(file), int(line), int(end_line), int(end_column))


def _making(entry: Mapping[str, Any]) -> Making:
    return Making(
        type=str(entry["type"]),
        rate=entry["rate"],
        groups=int(entry["groups"]),
        frames=tuple(_standing(frame) for frame in entry["frames"]),
        stepped=_standing(entry["stepped"]),
    )


def _standing(entry: Mapping[str, Any]) -> Standing:
    return Standing(entry["place"], entry["model"])
