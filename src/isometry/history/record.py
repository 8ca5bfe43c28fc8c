"""The bytes of a run: how a steps file is laid out, and how numbers that JSON lacks are spelled.

A steps file is one line of JSON, padded with spaces to a multiple of 64 bytes, followed by records of one size:

    magic uint32 · crc32 uint32 · step int64 · given bits · one array over the layers for each column · padding

all little-endian. The crc covers everything behind itself. Bit i of ``given`` says that column i was measured in this
step. One column of one step is contiguous, so that a reader touches only what it asks for.
"""

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isometry.history.history import Column

__all__ = ["COUNTING", "MAGIC", "RUN_SCHEMA", "STEPS_SCHEMA", "HeaderError", "Layout", "plain", "restored"]

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


@dataclass(frozen=True, slots=True)
class Layout:
    """What a record of one steps file holds."""

    layers: tuple[str, ...]
    columns: tuple[Column, ...]
    kinds: tuple[str, ...]
    """Number format of each column, one of ``KINDS``."""

    @classmethod
    def of(cls, layers: Sequence[str], columns: Sequence[Column], *, double: bool, wide: bool) -> "Layout":
        """Floats in ``double`` precision or single; counts in 64 bits if ``wide``, else in 32."""
        names = tuple((str(signal), statistic) for signal, statistic in columns)
        count, real = ("<u8" if wide else "<u4"), ("<f8" if double else "<f4")
        return cls(tuple(layers), names, tuple(count if name in COUNTING else real for _, name in names))

    @property
    def payload_bytes(self) -> int:
        """Bytes from the start of a record to the end of its last column, before padding."""
        return 16 + -(-len(self.columns) // 8) + len(self.layers) * sum(KINDS[kind] for kind in self.kinds)

    @property
    def record_bytes(self) -> int:
        return -(-self.payload_bytes // 8) * 8

    @property
    def dtype(self) -> np.dtype[np.void]:
        """A record as NumPy reads it; columns are fields named ``signal.statistic``."""
        given = -(-len(self.columns) // 8)
        fields: list[Any] = [("magic", "<u4"), ("crc32", "<u4"), ("step", "<i8"), ("given", "u1", (given,))]
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
        """
        try:
            header = json.loads(line)
        except (ValueError, RecursionError):
            raise HeaderError("its first line is no JSON") from None
        if not isinstance(header, dict) or not isinstance(header.get("schema"), str):
            raise HeaderError("its first line names no schema")
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
