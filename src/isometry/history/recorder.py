"""Writes a run while it happens: append-only, so that it can be read meanwhile and survives ``kill -9``.

The caller sits inside somebody's training step. A fault of the disk reaches it as the plain ``OSError`` that it is.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from isometry.history.history import Column
from isometry.history.record import RUN_SCHEMA, Layout, Packer, plain
from isometry.network.architecture import Architecture

__all__ = ["Recorder", "fresh_folder"]

BATCH_SECONDS = 1.0
"""No scalar waits longer than this while others follow it."""
BATCH_VALUES = 256
UNHURRIED_SECONDS = 0.05
"""A training whose scalars come slower than this has each written at once, at 20 µs a piece."""


def fresh_folder(folder: Path) -> Path:
    """``folder`` itself if no run is kept there, else the first free one of ``folder-2``, ``folder-3`` …"""
    candidate, number = folder, 1
    while candidate.exists() and (not candidate.is_dir() or any(candidate.iterdir())):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


class Recorder:
    """Appends to a run folder.

    Args:
        folder: made where it does not exist.
        provenance: versions, seed, device … kept in ``run.json``.
        rank: of this process among those that train together. Ranks share a folder and no file.

    Raises:
        FileExistsError: the folder already keeps a run of this rank. ``fresh_folder`` finds one that does not.
        OSError: whatever the file system has against it, here and from every method.
    """

    def __init__(self, folder: Path | str, *, provenance: Mapping[str, Any], rank: int = 0) -> None:
        self.folder = Path(folder)
        self.rank = rank
        self._provenance = dict(provenance)
        self._files: list[str] = []
        self._steps: _Appended | None = None
        self._pending: dict[str, tuple[list[int], list[float]]] = {}
        self._pending_values = 0
        self._pending_since = self._last_scalar = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Exclusive creation of this one file claims the folder, also against another process that does the same now.
        self._events = _Appended(self.folder / self._named("events", ".jsonl"))

    def add_provenance(self, **facts: Any) -> None:
        """Facts that are known only now; ``begin`` writes them."""
        self._provenance.update(facts)

    def begin(self, architecture: Architecture, columns: Sequence[Column], *, double: bool = False) -> None:
        """Say what will be recorded; again where the network or its columns turn out to be more.

        Args:
            architecture: its layers are the rows of every column from now on.
            columns: those that ``record`` may be given.
            double: keep floats in double precision, for networks that compute so.
        """
        self._architecture, self._columns, self._double = architecture, tuple(columns), double
        self._open(wide=False)

    def record(self, step: int, columns: Mapping[Column, NDArray[Any]]) -> None:
        """Append one step; columns left out count as not measured. Arrays of shape (layers,)."""
        if self._steps is None:
            raise ValueError("record() before begin(): the layers and columns are not known yet")
        try:
            record = self._packer.pack(step, columns)
        except OverflowError:
            self._open(wide=True)
            record = self._packer.pack(step, columns)
        self._steps.write(record)

    def scalar(self, step: int, name: str, value: float) -> None:
        """Note one number of one step."""
        steps, values = self._pending.setdefault(name, ([], []))
        steps.append(int(step))
        values.append(float(value))
        now = time.monotonic()
        if not self._pending_values:
            self._pending_since = now
        self._pending_values += 1
        unhurried = now - self._last_scalar > UNHURRIED_SECONDS
        self._last_scalar = now
        if unhurried or self._pending_values >= BATCH_VALUES or now - self._pending_since >= BATCH_SECONDS:
            self.flush()

    def event(self, kind: str, step: int, /, **fields: Any) -> None:
        """Note something rare, at once."""
        self.flush()
        self._events.write(_line({"event": kind, "step": int(step), **fields}))

    def flush(self) -> None:
        """Hand everything noted so far to the operating system."""
        if not self._pending_values:
            return
        lines = [
            _line({"event": "scalars", "name": name, "steps": steps, "values": values})
            for name, (steps, values) in self._pending.items()
        ]
        self._pending, self._pending_values = {}, 0
        self._events.write(b"".join(lines))

    def close(self) -> None:
        """Flush and let go of the files; may be called again."""
        try:
            self.flush()
        finally:
            self._events.close()
            if self._steps is not None:
                self._steps.close()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _named(self, stem: str, suffix: str) -> str:
        return f"{stem}{suffix}" if self.rank == 0 else f"{stem}-{self.rank}{suffix}"

    def _open(self, *, wide: bool) -> None:
        """Start a steps file, then let ``run.json`` name it: a reader never sees one without the other."""
        layout = Layout.of(self._architecture.names, self._columns, double=self._double, wide=wide)
        part = f"-{len(self._files)}" if self._files else ""
        name = f"steps-{self.rank}{part}.bin"
        steps = _Appended(self.folder / name)
        steps.write(layout.header())
        if self._steps is not None:
            self._steps.close()
        self._steps, self._packer = steps, Packer(layout)
        self._files.append(name)
        self._describe()

    def _describe(self) -> None:
        document = {
            "schema": RUN_SCHEMA,
            "architecture": self._architecture.to_dict(),
            "provenance": self._provenance,
            "files": self._files,
        }
        target = self.folder / self._named("run", ".json")
        draft = target.with_suffix(".json.new")
        draft.write_text(json.dumps(plain(document), indent=1, allow_nan=False), encoding="ascii")
        draft.replace(target)


class _Appended:
    """A new file that grows by whole pieces: one that does not fit is taken back before the error is passed on."""

    def __init__(self, path: Path) -> None:
        binary = getattr(os, "O_BINARY", 0)  # only Windows has it, and mangles line ends without it
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | binary, 0o666)
        self._size = 0

    def write(self, piece: bytes | memoryview) -> None:
        if self._descriptor is None:
            raise ValueError("the recorder is closed")
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(piece)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(plain(entry), separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
