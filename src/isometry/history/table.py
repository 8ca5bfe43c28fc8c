"""One steps file of a run: its sound records, and columns of them."""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.history import Column, Floats, Integers
from isometry.history.record import COUNTING, MAGIC, HeaderError, LaterFormat, Layout
from isometry.network.architecture import Architecture

__all__ = ["REMEDY", "Table"]

REMEDY = "Restore the folder from a copy, or record the run again."
WINDOW_BYTES = 32 * 2**20
"""So much of a steps file is mapped at a time: pages that were looked at count as memory in use until let go."""
LARGEST_HEADER = 2**28
"""Longest header line that is read at all. [bytes]"""
LARGEST_GAP = 2**26
"""After so much without one sound record nothing more is looked for: a sparse file can claim any size. [bytes]"""
FEW = 16
"""Fewer than one record in so many are read one by one, not by mapping the file."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
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
    def of(cls, path: Path) -> "Table":
        line = _first_line(path)
        try:
            layout = Layout.parse(line)
        except LaterFormat as fault:
            raise NotRecorded(f"{path}: {fault}") from None
        except HeaderError as fault:
            raise NotRecorded(f"{path}: {fault}. The file is damaged or no steps file. {REMEDY}") from None
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

    def fill(self, target: Floats, column: Column, architecture: Architecture, *, rows: Integers) -> None:
        """Read some steps of one column.

        Args:
            target: filled with the values, layers placed by name. shape (rows, layers of the architecture)
            column: one that the file need not have.
            architecture: of the whole run; layers of its own that it does not have are passed over.
            rows: which of the sound records, rising.
        """
        pairs = [(i, architecture.index(name)) for i, name in enumerate(self.layout.layers) if name in architecture]
        source, place = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        same = len(pairs) == target.shape[1] and np.array_equal(source, place)
        if column not in self.given or not same:
            target.fill(0.0 if column[1] in COUNTING else np.nan)
        if column not in self.given:
            return
        try:
            for first, values in self._pieces(f"{column[0]}.{column[1]}", self.rows[rows]):
                if same:
                    target[first : first + len(values)] = values
                else:
                    target[first : first + len(values), place] = values[:, source]
        except (OSError, ValueError) as fault:
            raise NotRecorded(f"{self.path}: can no longer be read ({fault}). {REMEDY}") from None

    def _pieces(self, field: str, places: Integers) -> Iterator[tuple[int, NDArray[Any]]]:
        """A field of the records at rising places of the file, piece by piece, each with how many came before it."""
        dtype = self.layout.dtype
        if len(places) * FEW < self.records:
            subtype, offset = dtype.fields[field][:2]  # type: ignore[index]
            with self.path.open("rb") as stream:
                for number, place in enumerate(places.tolist()):
                    stream.seek(self.offset + place * dtype.itemsize + offset)
                    yield number, np.frombuffer(stream.read(subtype.itemsize), subtype.base).reshape(1, -1)
            return
        records = int(places[-1]) + 1 if len(places) else 0
        for start, window in _windows(self.path, dtype, self.offset, records):
            first, last = np.searchsorted(places, [start, start + len(window)])
            chosen = places[first:last] - start
            values = window[field]
            yield int(first), values if np.array_equal(chosen, np.arange(len(window))) else values[chosen]


def _windows(path: Path, dtype: np.dtype[np.void], offset: int, records: int) -> Iterator[tuple[int, NDArray[np.void]]]:
    """Consecutive stretches of a file's records; each stretch's pages are let go with the array."""
    length = max(1, WINDOW_BYTES // dtype.itemsize)
    with path.open("rb") as stream:
        for start in range(0, records, length):
            count, position = min(length, records - start), offset + start * dtype.itemsize
            margin = position % mmap.ALLOCATIONGRANULARITY
            size = margin + count * dtype.itemsize
            mapped = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ, offset=position - margin)
            yield start, np.frombuffer(mapped, dtype, count, margin)


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


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            line = stream.readline(LARGEST_HEADER)
    except OSError as fault:
        raise NotRecorded(f"{path}: cannot be read ({fault.strerror}). Look at its permissions.") from None
    if not line.endswith(b"\n"):
        raise NotRecorded(f"{path}: {len(line)} bytes without a header line. {REMEDY}")
    return line
