"""The bytes of a run: how a steps file is laid out, and how numbers that JSON lacks are spelled.

A steps file is one line of JSON, padded with spaces to a multiple of 64 bytes, followed by records of one size:

    magic uint32 · crc32 uint32 · step int64 · given bits, 64 at a time · one array over the layers for each column

all little-endian, padded to 8 bytes. The crc covers everything behind itself. Bit i of ``given`` says that column i was
measured in this step. One column of one step is contiguous, so that a reader touches only what it asks for.
"""

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.history.history import Column

__all__ = [
    "COUNTING",
    "MAGIC",
    "RUN_SCHEMA",
    "STEPS_SCHEMA",
    "HeaderError",
    "LaterFormat",
    "Layout",
    "Packer",
    "plain",
    "require_known",
    "restored",
]

RUN_SCHEMA = "isometry/run/1"
STEPS_SCHEMA = "isometry/steps/1"
MAGIC = int.from_bytes(b"ISO1", "little")
COUNTING = frozenset({"count", "zeros", "nan", "inf"})
"""Statistics kept as integers; missing ones are 0, not NaN."""
KINDS = {"<f4": 4, "<f8": 8, "<u4": 4, "<u8": 8}
"""Number formats that a column may have, and their bytes."""
ALIGNMENT = 64
LARGEST_RECORD = 2**30
"""A record of 100,000 layers × 100 columns of float64 takes 80 MB."""
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class HeaderError(ValueError):
    """The first line of a steps file does not describe records."""


class LaterFormat(ValueError):
    """What was found is sound and of a later version; worded to follow a file name."""

    def __init__(self, found: str, ours: str) -> None:
        from importlib.metadata import version

        super().__init__(
            f"its schema is {found}, written by a later version; this one, isometry {version('isometry')}, reads "
            f"{ours}. Upgrade isometry to read the run: pip install --upgrade isometry"
        )


def require_known(found: str, ours: str) -> None:
    """Refuse a schema of a later version than ours.

    Raises:
        LaterFormat: it is.
    """
    kind, _, number = found.rpartition("/")
    own_kind, _, own_number = ours.rpartition("/")
    if kind == own_kind and re.fullmatch(r"\d{1,9}", number) and int(number) > int(own_number):
        raise LaterFormat(found, ours)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a record of one steps file holds."""

    layers: tuple[str, ...]
    columns: tuple[Column, ...]
    kinds: tuple[str, ...]
    """Number format of each column, one of ``KINDS``."""

    @classmethod
    def of(cls, layers: Sequence[str], columns: Sequence[Column], *, double: bool, wide: bool) -> "Layout":
        """Floats first, in ``double`` precision or single; then counts, in 64 bits if ``wide``, else in 32."""
        names = [(str(signal), statistic) for signal, statistic in columns]
        floats = [column for column in names if column[1] not in COUNTING]
        counts = [column for column in names if column[1] in COUNTING]
        kinds = ["<f8" if double else "<f4"] * len(floats) + ["<u8" if wide else "<u4"] * len(counts)
        return cls(tuple(layers), tuple(floats + counts), tuple(kinds))

    @property
    def given_bytes(self) -> int:
        return -(-len(self.columns) // 64) * 8

    @property
    def payload_bytes(self) -> int:
        """Bytes from the start of a record to the end of its last column, before padding."""
        return 16 + self.given_bytes + len(self.layers) * sum(KINDS[kind] for kind in self.kinds)

    @property
    def record_bytes(self) -> int:
        return -(-self.payload_bytes // 8) * 8

    @property
    def dtype(self) -> np.dtype[np.void]:
        """A record as NumPy reads it; columns are fields named ``signal.statistic``."""
        fields: list[Any] = [("magic", "<u4"), ("crc32", "<u4"), ("step", "<i8"), ("given", "u1", (self.given_bytes,))]
        for (signal, statistic), kind in zip(self.columns, self.kinds, strict=True):
            fields.append((f"{signal}.{statistic}", kind, (len(self.layers),)))
        fields.append(("padding", "u1", (self.record_bytes - self.payload_bytes,)))
        return np.dtype(fields)

    def header(self) -> bytes:
        table = {
            "layers": list(self.layers),
            "columns": [[*column, kind] for column, kind in zip(self.columns, self.kinds, strict=True)],
            "record_bytes": self.record_bytes,
        }
        text = json.dumps({"schema": STEPS_SCHEMA, "crc32": _checksum(table), **table}).encode("ascii")
        return text + b" " * (-(len(text) + 1) % ALIGNMENT) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "Layout":
        """Read a header line, believing none of it.

        Raises:
            HeaderError: with the reason, worded to follow a file name.
            LaterFormat: a later version wrote it.
        """
        try:
            header = json.loads(line)
        except (ValueError, RecursionError):
            raise HeaderError("its first line is no JSON") from None
        if not isinstance(header, dict) or not isinstance(header.get("schema"), str):
            raise HeaderError("its first line names no schema")
        require_known(header["schema"], STEPS_SCHEMA)
        if header["schema"] != STEPS_SCHEMA:
            raise HeaderError(f"its schema is {header['schema'][:40]!r}, not {STEPS_SCHEMA!r}")
        table: dict[str, Any] = {key: header.get(key) for key in ("layers", "columns", "record_bytes")}
        if header.get("crc32") != _checksum(table):
            raise HeaderError("its first line does not match its own checksum")
        layers, columns = table["layers"], table["columns"]
        if not _are_names(layers) or len(set(layers)) < len(layers):
            raise HeaderError("its layers are no list of distinct names")
        if not isinstance(columns, list) or not all(_are_names(column) and len(column) == 3 for column in columns):
            raise HeaderError("its columns are no list of signal, statistic and number format")
        if len({(signal, statistic) for signal, statistic, _ in columns}) != len(columns):
            raise HeaderError("it names a column twice")
        if unknown := {kind for _, _, kind in columns} - KINDS.keys():
            raise HeaderError(f"it asks for number format {min(unknown)[:20]!r}, and only {', '.join(KINDS)} exist")
        layout = cls(
            layers=tuple(layers),
            columns=tuple((signal, statistic) for signal, statistic, _ in columns),
            kinds=tuple(kind for _, _, kind in columns),
        )
        if layout.record_bytes != table["record_bytes"] or layout.record_bytes > LARGEST_RECORD:
            raise HeaderError(f"it claims records of {str(table['record_bytes'])[:30]} bytes")
        return layout


class Packer:
    """Makes the bytes of records of one layout, in one buffer that it uses again."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._record = np.zeros(1, layout.dtype)
        self._record["magic"] = MAGIC
        self._octets = self._record.view(np.uint8)
        self._places = {column: place for place, column in enumerate(layout.columns)}
        self._shape = (len(layout.layers),)
        counting = sum(statistic in COUNTING for _, statistic in layout.columns)
        self._first_count = len(layout.columns) - counting
        self._staged = np.empty((len(layout.columns), len(layout.layers)))
        self._limit = np.iinfo(layout.kinds[-1]).max if counting else 0
        start = 16 + layout.given_bytes
        self._targets: list[tuple[slice, NDArray[Any]]] = []
        for part in (slice(0, self._first_count), slice(self._first_count, len(layout.columns))):
            if kinds := layout.kinds[part]:
                stop = start + len(kinds) * len(layout.layers) * KINDS[kinds[0]]
                target = self._octets[start:stop].view(kinds[0]).reshape(len(kinds), -1)
                self._targets.append((part, target))
                start = stop

    def pack(self, step: int, columns: Mapping[Column, NDArray[Any]]) -> memoryview:
        """The bytes of one record, good until the next call.

        Raises:
            OverflowError: a count is too large for the layout's 32 bits.
            ValueError: a column is not of shape (layers,).
            KeyError: a column that the layout does not have.
        """
        floats, counts = self._staged[: self._first_count], self._staged[self._first_count :]
        floats.fill(np.nan)
        counts.fill(0.0)
        given = 0
        for column, values in columns.items():
            place = self._places[column]
            if np.shape(values) != self._shape:
                raise ValueError(f"{column[0]} {column[1]}: shape {np.shape(values)} instead of {self._shape}")
            self._staged[place] = values
            given |= 1 << place
        if counts.size:
            np.nan_to_num(counts, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            if counts.max() > self._limit:
                raise OverflowError("a count needs more than 32 bits")
        with np.errstate(over="ignore"):
            for part, target in self._targets:
                target[...] = self._staged[part]
        record = self._record[0]
        record["step"] = step
        record["given"] = np.frombuffer(given.to_bytes(self.layout.given_bytes, "little"), dtype=np.uint8)
        record["crc32"] = zlib.crc32(self._octets[8:].data)
        return self._octets.data


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _checksum(table: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(table, sort_keys=True, separators=(",", ":")).encode("ascii"))


def plain(value: Any) -> Any:
    """The same value in what strict JSON has: non-finite floats become the strings ``nan``, ``inf``, ``-inf``.

    A text that happens to read so becomes ``{"text": "nan"}``. What JSON cannot hold at all is kept as its ``str``.
    """
    if value is None or (isinstance(value, bool | int) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, str):
        return {"text": str(value)} if value in NON_FINITE else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        if set(map(type, value)) == {int}:  # counts of histograms: thousands in a recorded step
            return list(value)
        return [plain(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(entry) for entry in value), key=str)
    return str(value)


def restored(value: Any) -> Any:
    """What ``plain`` was given; tuples come back as lists."""
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, list):
        return [restored(entry) for entry in value]
    if isinstance(value, dict):
        if value.keys() == {"text"} and value["text"] in NON_FINITE:
            return value["text"]
        return {key: restored(entry) for key, entry in value.items()}
    return value
