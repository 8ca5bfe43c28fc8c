"""Reads a run folder, believing nothing in it.

Whatever is wrong with a folder as a whole becomes one ``NotRecorded`` that names the file, what was found and what to
do. A torn tail, as a kill leaves it, is cut off; a damaged record in the middle is left out and noted. Nothing is
unpickled.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from isometry.errors import NotRecorded
from isometry.history.events import read_events
from isometry.history.history import Column, Floats, History, Integers, Series, last_of_each
from isometry.history.record import RUN_SCHEMA, LaterFormat, require_known, restored
from isometry.history.run import Run
from isometry.history.table import REMEDY, Table
from isometry.network.architecture import Architecture, Layer

__all__ = ["open_run"]

LARGEST_DOCUMENT = 2**28
"""Longest run.json that is read at all. [bytes]"""
STEPS_NAME = re.compile(r"steps-\d{1,6}(-\d{1,6})?\.bin")


def open_run(folder: Path | str) -> Run:
    """The run kept in a folder, finished or still being written.

    Raises:
        NotRecorded: the folder is missing, no run, damaged beyond reading, or of a later format.
    """
    folder = Path(folder)
    document = _document(folder)
    architecture = _architecture(document.get("architecture"), folder / "run.json")
    tables = [Table.of(folder / name) for name in _file_names(document, folder)]
    _check_layers(architecture, tables)
    scalars, events, damaged_lines = read_events(folder / "events.jsonl")
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
    tables: list[Table],
    scalars: dict[str, Series],
    events: dict[str, list[dict[str, Any]]],
    notes: list[str],
) -> History:
    """One history of several steps files; where two hold the same step, the later file counts."""
    written = np.concatenate([table.steps for table in tables]) if tables else np.empty(0, np.int64)
    steps, kept = last_of_each(written)
    columns = tuple(dict.fromkeys(column for table in tables for column in table.given))

    def read(column: Column, rows: Integers | None) -> Floats:
        wanted = kept if rows is None else kept[rows]
        order = np.argsort(wanted, kind="stable")
        values = np.empty((len(wanted), len(architecture)))
        start = 0
        for table in tables:
            first, last = np.searchsorted(wanted, [start, start + len(table.steps)], sorter=order)
            table.fill(values[first:last], column, architecture, rows=wanted[order[first:last]] - start)
            start += len(table.steps)
        if np.all(order[1:] > order[:-1]):
            return values
        placed = np.empty_like(values)
        placed[order] = values
        return placed

    return History(steps, columns, read, scalars=scalars, events=events, notes=notes)


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
        raise NotRecorded(f"{path}: {len(text)} bytes that are no JSON. {REMEDY}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    try:
        require_known(str(schema), RUN_SCHEMA)
    except LaterFormat as fault:
        raise NotRecorded(f"{path}: {fault}") from None
    if schema != RUN_SCHEMA:
        raise NotRecorded(f"{path}: its schema is no {RUN_SCHEMA}. Give the folder of a run.")
    if not isinstance(document.get("provenance"), dict):
        raise NotRecorded(f"{path}: holds no provenance. {REMEDY}")
    checked: dict[str, Any] = document
    return checked


def _file_names(document: dict[str, Any], folder: Path) -> list[str]:
    names = document.get("files")
    if not isinstance(names, list) or not names:
        raise NotRecorded(f"{folder / 'run.json'}: names no steps file. {REMEDY}")
    for name in names:
        if not isinstance(name, str) or not STEPS_NAME.fullmatch(name):
            raise NotRecorded(
                f"{folder / 'run.json'}: names {str(name)[:60]!r} as a steps file, and only steps-<rank>.bin beside it "
                f"is one. Do not trust this folder."
            )
        if not (folder / name).is_file():
            raise NotRecorded(f"{folder / name}: missing, though run.json names it. {REMEDY}")
    if len(set(names)) != len(names):
        raise NotRecorded(f"{folder / 'run.json'}: names a steps file twice. {REMEDY}")
    return names


_TEXT = ("name", "kind", "type", "dtype")
_OPTIONAL_TEXT = ("activation", "norm", "tied_to", "branch")
_NUMBERS = ("fan_in", "fan_out", "calls")
_TUPLES = {"parameters": str, "inputs": str, "weight_shape": int}


def _architecture(data: Any, path: Path) -> Architecture:
    try:
        architecture = Architecture.from_dict(data)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotRecorded(f"{path}: its architecture does not describe layers. {REMEDY}") from None
    if not all(map(_is_well_formed, architecture.layers)):
        raise NotRecorded(f"{path}: its architecture does not describe layers. {REMEDY}")
    if len(set(architecture.names)) != len(architecture):
        raise NotRecorded(f"{path}: its architecture names a layer twice. {REMEDY}")
    if not all(isinstance(text, str) for text in (architecture.model, architecture.framework, *architecture.notes)):
        raise NotRecorded(f"{path}: its architecture names no model. {REMEDY}")
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


def _check_layers(architecture: Architecture, tables: list[Table]) -> None:
    """The last steps file was begun with the architecture that run.json holds."""
    if set(tables[-1].layout.layers) != set(architecture.names):
        raise NotRecorded(
            f"{tables[-1].path}: holds other layers than run.json says. The two files belong to different runs, or "
            f"one is damaged. {REMEDY}"
        )
