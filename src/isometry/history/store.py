"""Reads a run folder, believing nothing in it.

Whatever is wrong with a folder as a whole becomes one ``NotRecorded`` that names the file, what was found and what to
do. A torn tail, as a kill leaves it, is cut off; a damaged record in the middle is left out and noted. Nothing is
unpickled.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.history import Column, Floats, History, Integers, Series
from isometry.history.record import COUNTING, MAGIC, RUN_SCHEMA, HeaderError, Layout, restored
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer

__all__ = ["open_run"]

WINDOW_BYTES = 32 * 2**20
"""So much of a steps file is mapped at a time: pages that were looked at count as memory in use until let go."""
LARGEST_DOCUMENT = 2**28
"""Longest run.json or header line that is read at all. [bytes]"""
LARGEST_EVENT = 2**26
"""Longest line of events that is taken for one. [bytes]"""
LARGEST_GAP = 2**26
"""After so much without one sound record nothing more is looked for: a sparse file can claim any size. [bytes]"""
STEPS_NAME = re.compile(r"steps-\d{1,6}(-\d{1,6})?\.bin")


def open_run(folder: Path | str) -> Run:
    """The run kept in a folder, finished or still being written.

    Raises:
        NotRecorded: the folder is missing, no run, damaged beyond reading, or of a later format.
    """
    folder = Path(folder)
    document = _document(folder)
    architecture = _architecture(document.get("architecture"), folder / "run.json")
    tables = [_Table.of(folder / name) for name in _file_names(document, folder)]
    _check_layers(architecture, tables)
    scalars, events, damaged_lines = _read_events(folder / "events.jsonl")
    notes = [
        f"{table.path.name}: {table.damaged} of {table.records} records do not match their checksum and were left out."
        for table in tables
        if table.damaged
    ]
    if damaged_lines:
        notes.append(f"events.jsonl: {damaged_lines} lines are damaged and were left out.")
    history = _history(architecture, tables, scalars, events, notes)
    return Run(architecture, history, document["provenance"], folder)


def _history(
    architecture: Architecture,
    tables: list["_Table"],
    scalars: dict[str, Series],
    events: dict[str, list[dict[str, Any]]],
    notes: list[str],
) -> History:
    """One history of several steps files; where two hold the same step, the later file counts."""
    written = np.concatenate([table.steps for table in tables]) if tables else np.empty(0, np.int64)
    steps, kept = _last_of_each(written)
    columns = tuple(dict.fromkeys(column for table in tables for column in table.given))
    in_order = len(kept) == len(written) and bool(np.all(np.diff(kept) > 0))

    def read(column: Column) -> Floats:
        empty = 0.0 if column[1] in COUNTING else np.nan
        values = np.full((len(written), len(architecture)), empty)
        start = 0
        for table in tables:
            table.read_into(values[start : start + len(table.steps)], column, architecture)
            start += len(table.steps)
        return values if in_order else values[kept]

    return History(steps, columns, read, scalars=scalars, events=events, notes=notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The sound records of one steps file."""

    path: Path
    layout: Layout
    offset: int
    rows: Integers
    """Places of the sound records in the file."""
    steps: Integers
    given: tuple[Column, ...]
    """Columns that at least one record fills."""
    records: int
    damaged: int

    @classmethod
    def of(cls, path: Path) -> "_Table":
        line = _first_line(path)
        try:
            layout = Layout.parse(line)
        except HeaderError as fault:
            raise NotRecorded(f"{path}: {fault}. The file is damaged or no steps file; {_REMEDY}") from None
        records = max(0, path.stat().st_size - len(line)) // layout.record_bytes
        rows, steps = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        given = np.zeros(layout.given_bytes, dtype=np.uint8)
        silent = 0
        for start, window in _windows(path, layout.dtype, len(line), records):
            sound = np.flatnonzero(_are_sound(window))
            silent = 0 if len(sound) else silent + window.nbytes
            if silent > LARGEST_GAP and silent > 100 * layout.record_bytes:
                break
            rows.append(start + sound)
            steps.append(window["step"][sound].astype(np.int64))
            given |= np.bitwise_or.reduce(window["given"][sound], axis=0)
        found = np.concatenate(rows)
        lost_at_end = records - 1 - (int(found[-1]) if len(found) else -1)
        bits = np.unpackbits(given, bitorder="little")
        return cls(
            path=path,
            layout=layout,
            offset=len(line),
            rows=found,
            steps=np.concatenate(steps),
            given=tuple(column for column, bit in zip(layout.columns, bits, strict=False) if bit),
            records=records,
            damaged=records - len(found) - (lost_at_end == 1),  # one lost at the end is the tail of a killed run
        )

    def read_into(self, target: Floats, column: Column, architecture: Architecture) -> None:
        """Fill (steps, layers) from the file, layers placed by name."""
        if column not in self.given:
            return
        pairs = [(i, architecture.index(name)) for i, name in enumerate(self.layout.layers) if name in architecture]
        source, place = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        same = len(pairs) == target.shape[1] and np.array_equal(source, place)
        field = f"{column[0]}.{column[1]}"
        records = int(self.rows[-1]) + 1 if len(self.rows) else 0
        try:
            for start, window in _windows(self.path, self.layout.dtype, self.offset, records):
                first, last = np.searchsorted(self.rows, [start, start + len(window)])
                values = window[field]
                if last - first < len(window):
                    values = values[self.rows[first:last] - start]
                if same:
                    target[first:last] = values
                else:
                    target[first:last, place] = values[:, source]
        except (OSError, ValueError) as fault:
            raise NotRecorded(f"{self.path}: can no longer be read ({fault}). {_REMEDY}") from None


_REMEDY = "restore the folder from a copy, or record the run again."


def _windows(path: Path, dtype: np.dtype[np.void], offset: int, records: int) -> Iterator[tuple[int, NDArray[np.void]]]:
    """Consecutive stretches of a file's records; each stretch's pages are let go with the array."""
    length = max(1, WINDOW_BYTES // dtype.itemsize)
    for start in range(0, records, length):
        shape = (min(length, records - start),)
        yield start, np.memmap(path, dtype=dtype, mode="r", offset=offset + start * dtype.itemsize, shape=shape)


def _are_sound(window: NDArray[np.void]) -> NDArray[np.bool_]:
    size = window.dtype.itemsize
    octets = window.view(np.uint8).data
    found = np.fromiter(
        (zlib.crc32(octets[start + 8 : start + size]) for start in range(0, len(octets), size)),
        dtype=np.uint32,
        count=len(window),
    )
    sound: NDArray[np.bool_] = (window["magic"] == MAGIC) & (window["crc32"] == found)
    return sound


def _last_of_each(written: Integers) -> tuple[Integers, Integers]:
    """Distinct steps, rising, and where each was written last."""
    steps, reversed_first = np.unique(written[::-1], return_index=True)
    return steps, len(written) - 1 - reversed_first


def _document(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not folder.is_dir():
        raise NotRecorded(f"{folder}: no such folder. Give the folder that `watch(run=...)` wrote, such as runs/first.")
    if not path.is_file():
        raise NotRecorded(
            f"{folder}: no run.json in it, so it is no run, or one in which no training step began. "
            f"Give the folder that `watch(run=...)` wrote, and let at least one step run inside the watch."
        )
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_DOCUMENT)
    except OSError as fault:
        raise NotRecorded(f"{path}: cannot be read ({fault.strerror}). Look at its permissions.") from None
    try:
        document = restored(json.loads(text))
    except (ValueError, RecursionError):
        raise NotRecorded(f"{path}: {len(text)} bytes that are no JSON. {_REMEDY.capitalize()}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or not re.fullmatch(r"isometry/run/\d{1,9}", schema):
        raise NotRecorded(f"{path}: its schema is no isometry/run. Give the folder of a run.")
    if schema != RUN_SCHEMA:
        raise NotRecorded(
            f"{path}: its schema is {schema}, and this isometry reads {RUN_SCHEMA}. Upgrade isometry to read the run."
        )
    if not isinstance(document.get("provenance"), dict):
        raise NotRecorded(f"{path}: holds no provenance. {_REMEDY.capitalize()}")
    checked: dict[str, Any] = document
    return checked


def _file_names(document: dict[str, Any], folder: Path) -> list[str]:
    names = document.get("files")
    if not isinstance(names, list) or not names:
        raise NotRecorded(f"{folder / 'run.json'}: names no steps file. {_REMEDY.capitalize()}")
    for name in names:
        if not isinstance(name, str) or not STEPS_NAME.fullmatch(name):
            raise NotRecorded(
                f"{folder / 'run.json'}: names {str(name)[:60]!r} as a steps file, and only steps-<rank>.bin beside it "
                f"is one. Do not trust this folder."
            )
        if not (folder / name).is_file():
            raise NotRecorded(f"{folder / name}: missing, though run.json names it. {_REMEDY.capitalize()}")
    if len(set(names)) != len(names):
        raise NotRecorded(f"{folder / 'run.json'}: names a steps file twice. {_REMEDY.capitalize()}")
    return names


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            line = stream.readline(LARGEST_DOCUMENT)
    except OSError as fault:
        raise NotRecorded(f"{path}: cannot be read ({fault.strerror}). Look at its permissions.") from None
    if not line.endswith(b"\n"):
        raise NotRecorded(f"{path}: {len(line)} bytes without a header line. {_REMEDY.capitalize()}")
    return line


_TEXT = ("name", "kind", "type", "dtype")
_OPTIONAL_TEXT = ("activation", "norm", "tied_to", "branch")
_NUMBERS = ("fan_in", "fan_out", "calls")
_TUPLES = {"parameters": str, "inputs": str, "weight_shape": int}


def _architecture(data: Any, path: Path) -> Architecture:
    try:
        architecture = Architecture.from_dict(data)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotRecorded(f"{path}: its architecture does not describe layers. {_REMEDY.capitalize()}") from None
    if not all(map(_is_well_formed, architecture.layers)):
        raise NotRecorded(f"{path}: its architecture does not describe layers. {_REMEDY.capitalize()}")
    if len(set(architecture.names)) != len(architecture):
        raise NotRecorded(f"{path}: its architecture names a layer twice. {_REMEDY.capitalize()}")
    if not all(isinstance(text, str) for text in (architecture.model, architecture.framework, *architecture.notes)):
        raise NotRecorded(f"{path}: its architecture names no model. {_REMEDY.capitalize()}")
    return architecture


def _is_well_formed(layer: Layer) -> bool:
    return (
        all(isinstance(getattr(layer, name), str) for name in _TEXT)
        and all(isinstance(getattr(layer, name), str | None) for name in _OPTIONAL_TEXT)
        and all(isinstance(getattr(layer, name), int | None) for name in _NUMBERS)
        and all(
            isinstance(getattr(layer, name), tuple) and all(isinstance(entry, kind) for entry in getattr(layer, name))
            for name, kind in _TUPLES.items()
        )
    )


def _check_layers(architecture: Architecture, tables: list[_Table]) -> None:
    """The last steps file was begun with the architecture that run.json holds."""
    if set(tables[-1].layout.layers) != set(architecture.names):
        raise NotRecorded(
            f"{tables[-1].path}: holds other layers than run.json says. The two files belong to different runs, or "
            f"one is damaged; {_REMEDY}"
        )


def _read_events(path: Path) -> tuple[dict[str, Series], dict[str, list[dict[str, Any]]], int]:
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
    "elapsed": float | int,
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
    distinct, last = _last_of_each(np.array(steps, dtype=np.int64))
    return Series(distinct, np.array(values, dtype=np.float64)[last])
