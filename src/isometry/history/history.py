"""The measured past of a training: columns by step and layer, scalars by step, and events."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.errors import NotRecorded
from isometry.network.signals import Signal

__all__ = ["Column", "Floats", "History", "Integers", "Series", "last_of_each"]

Column = tuple[str, str]
"""(signal, statistic); a ``Signal`` is a string, so both spellings name the same column."""
Floats = NDArray[np.float64]
Rows = slice | Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]
Integers = NDArray[np.int64]

CACHE_BYTES = 384 * 2**20
"""Columns kept in memory once read. A column of 500 layers × 20,000 steps takes 80 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One number a step: a loss, a learning rate, whatever the user logs."""

    steps: Integers
    """Strictly rising."""
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)


class History:
    """What was measured, by column, name or kind.

    ``history[Signal.DELTA, "rms"]`` is an array of shape (recorded steps, layers), layers input first. NaN stands for
    "not recorded at that layer in that step"; for the counting statistics (count, zeros, nan, inf) 0 does.
    Arrays are float64 and read-only; those of a run on disk are read when first asked for.
    """

    def __init__(
        self,
        steps: Integers,
        columns: Iterable[Column],
        read: Callable[[Column, Integers | None], Floats],
        *,
        scalars: Mapping[str, Series] | None = None,
        events: Mapping[str, Sequence[dict[str, Any]]] | None = None,
        notes: Iterable[str] = (),
        begin: int = 0,
    ) -> None:
        self.steps = steps
        """Numbers of the recorded steps, strictly rising."""
        self.begin = begin
        """Number of the training's first step: 0, unless another training was watched before this one."""
        self.columns: tuple[Column, ...] = tuple((_signal(signal), statistic) for signal, statistic in columns)
        """The columns that at least one recorded step filled."""
        self.scalars: Mapping[str, Series] = dict(scalars or {})
        self.notes = tuple(notes)
        """What the reader of the run should know about the record itself: damage, gaps."""
        self._events = {kind: tuple(entries) for kind, entries in (events or {}).items()}
        self._read = read
        self._present = frozenset(self.columns)
        self._cache: OrderedDict[tuple[Column, bytes], Floats] = OrderedDict()

    @classmethod
    def from_arrays(
        cls,
        steps: ArrayLike,
        columns: Mapping[Column, ArrayLike],
        scalars: Mapping[str, Series | ArrayLike] | None = None,
        events: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    ) -> "History":
        """A history held in memory.

        Args:
            steps: numbers of the recorded steps. shape (steps,)
            columns: arrays of shape (steps, layers)
            scalars: a ``Series``, or one value a step from step 0 on
            events: by kind; each needs its ``step``
        """
        steps = np.asarray(steps, dtype=np.int64)
        arrays = {key: _frozen(np.array(array, dtype=np.float64)) for key, array in columns.items()}
        for (signal, statistic), array in arrays.items():
            if array.ndim != 2 or len(array) != len(steps):
                raise ValueError(f"{signal} {statistic}: shape {array.shape} instead of ({len(steps)}, layers)")
        series = {name: _series(value) for name, value in (scalars or {}).items()}
        kept = {kind: tuple(dict(entry) for entry in entries) for kind, entries in (events or {}).items()}

        def read(column: Column, rows: Integers | None) -> Floats:
            return arrays[column] if rows is None else arrays[column][rows]

        return cls(steps, arrays, read, scalars=series, events=kept)

    def __getitem__(self, column: Column) -> Floats:
        return self._kept(column, None)

    def rows(self, column: Column, rows: Rows) -> Floats:
        """Some recorded steps of a column; of a run on disk nothing else is read.

        Args:
            column: as in ``history[column]``.
            rows: places in ``steps``, not step numbers: whatever picks rows of an array.

        Returns:
            shape (rows, layers)
        """
        if (column, b"") in self._cache:
            return _frozen(self._cache[column, b""][rows])
        return self._kept(column, np.arange(len(self.steps))[rows])

    def _kept(self, column: Column, rows: Integers | None) -> Floats:
        key = (column, b"" if rows is None else b"rows" + rows.tobytes())
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if column not in self:
            raise NotRecorded(self._missing(column))
        values = _frozen(self._read(column, rows))
        self._cache[key] = values
        while len(self._cache) > 1 and sum(kept.nbytes for kept in self._cache.values()) > CACHE_BYTES:
            self._cache.popitem(last=False)
        return values

    def __contains__(self, column: object) -> bool:
        return column in self._present and len(self.steps) > 0

    def events(self, kind: str) -> tuple[dict[str, Any], ...]:
        """Everything of one kind that happened, in order; each has its ``step``."""
        return self._events.get(kind, ())

    @property
    def event_kinds(self) -> tuple[str, ...]:
        """Kinds of which at least one event is known."""
        return tuple(self._events)

    @property
    def end(self) -> dict[str, Any] | None:
        """How the training ended; None while it runs, and after a kill."""
        ends = self.events("end")
        return ends[-1] if ends else None

    @property
    def total_steps(self) -> int:
        """How many steps the training is known to have made, recorded or not."""
        if self.end is not None and isinstance(self.end.get("steps"), int):
            return int(self.end["steps"])
        last = [int(self.steps[-1])] if len(self.steps) else []
        last += [int(series.steps[-1]) for series in self.scalars.values() if len(series)]
        return max(last, default=self.begin - 1) + 1 - self.begin

    def _missing(self, column: Column) -> str:
        signal, statistic = column
        if not len(self.steps):
            return (
                f"{signal} {statistic}: no step was recorded. Let at least one training step run inside `watch(...)`."
            )
        held = sorted({str(kept) for kept, _ in self.columns})
        return (
            f"{signal} {statistic}: not in this run, which holds {', '.join(held) or 'no columns'}. "
            f"Watch again without `signals=`, or with this signal among them."
        )


def last_of_each(written: Integers) -> tuple[Integers, Integers]:
    """Distinct steps, rising, and the place at which each was written last."""
    steps, reversed_first = np.unique(written[::-1], return_index=True)
    return steps, len(written) - 1 - reversed_first


def _signal(name: str) -> str:
    """The Signal of that name; a name that this version does not know stays a plain string."""
    return Signal(name) if name in Signal.__members__.values() else name


def _frozen(array: Floats) -> Floats:
    array.setflags(write=False)
    return array


def _series(value: Series | ArrayLike) -> Series:
    if isinstance(value, Series):
        return value
    values = np.asarray(value, dtype=np.float64)
    return Series(np.arange(len(values), dtype=np.int64), values)
