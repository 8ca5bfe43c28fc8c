"""Everything that is measured in one step, and its reduction to one value per layer and column."""

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isometry.adapters.torch import measure
from isometry.adapters.torch.rounding import HALF
from isometry.adapters.torch.sites import Site
from isometry.network.signals import MOMENTS, Signal
from isometry.statistics.moments import pool_rows

__all__ = ["COLUMNS", "ActiveUnits", "Chronicle", "Recording"]

EXTRAS = (
    (Signal.PRE_ACTIVATION, "spread"),
    (Signal.SLOPE, "saturated"),
    (Signal.ACTIVATION, "dead"),
    (Signal.ACTIVATION, "units"),
    (Signal.ACTIVATION, "seen"),
    (Signal.UPDATE, "applied"),
    (Signal.DELTA, "branch_gain"),
    (Signal.DELTA, "branch_cosine"),
)
COLUMNS: tuple[tuple[Signal, str], ...] = tuple((signal, moment) for signal in Signal for moment in MOMENTS) + EXTRAS
FORWARD = frozenset({Signal.INPUT, Signal.PRE_ACTIVATION, Signal.ACTIVATION, Signal.SLOPE})
FROM_THE_LOSS = frozenset({Signal.DELTA, Signal.ACTIVATION_GRADIENT, Signal.INPUT_GRADIENT})
SCALED_MOMENTS = [MOMENTS.index(name) for name in ("mean", "std", "rms", "abs_max")]
COUNTS = [MOMENTS.index(name) for name in ("count", "zeros", "nan", "inf")]
NON_FINITE = [MOMENTS.index("nan"), MOMENTS.index("inf")]

WINDOW = 8
"""Recorded steps, at least, over which a unit must have been silent to count as dead …"""
WINDOW_SAMPLES = 512
"""… and as many more as it takes to see so many samples …"""
WINDOW_LIMIT = 64
"""… but no more than this."""

Entry = tuple[int, Site, Signal, int, measure.Row]
"""Forward pass, layer, signal, run of the layer within the pass, moments."""
Chronicle = list[tuple[Site, Signal, np.ndarray]]
"""Layer, signal and moments of every row of a step, in the order of their making."""


class ActiveUnits:
    """Which units of a layer have been active in the last recorded steps."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, Tensor, int]] = deque()

    def add(self, step: int, active: Tensor, samples: int) -> None:
        if self._recent and (self._recent[-1][1].shape != active.shape):
            self._recent.clear()
        if self._recent and self._recent[-1][0] == step:
            _, before, seen = self._recent.pop()
            active, samples = before | active, seen + samples
        self._recent.append((step, active, samples))
        while len(self._recent) > WINDOW and (len(self._recent) > WINDOW_LIMIT or self._enough_without_oldest()):
            self._recent.popleft()

    def _enough_without_oldest(self) -> bool:
        return sum(entry[2] for entry in self._recent) - self._recent[0][2] >= WINDOW_SAMPLES

    def dead(self) -> tuple[int, int, int]:
        """Units never active in the window, all units, samples seen in it."""
        active = torch.stack([entry[1] for entry in self._recent]).any(0)
        return int((~active).sum()), active.numel(), sum(entry[2] for entry in self._recent)


class Recording:
    """The rows of one step, in the order in which they came."""

    def __init__(
        self,
        step: int,
        signals: frozenset[Signal],
        failed: Callable[[Exception], None],
        *,
        distributions: bool = False,
        levels_only: bool = False,
    ) -> None:
        self.step = step
        self.levels_only = levels_only
        self.distributions: dict[tuple[Site, Signal], dict[str, Any]] | None = {} if distributions else None
        self.signals = signals
        self.failed = failed
        self.open = True
        self.in_backward = False
        self.seconds = 0.0
        self.passes = 0
        self.heard: set[int] = set()
        self.entries: list[Entry] = []
        self.extras: list[tuple[int, Site, Signal, str, float | Tensor]] = []
        self.times: list[tuple[Site, Tensor]] = []
        self.units: list[tuple[int, Site, Tensor, int]] = []
        self.equal: dict[tuple[Site, Signal], tuple[Site, Signal]] = {}
        self.optimiser_rows: dict[tuple[Site, Signal], list[measure.Row]] = {}
        self.applied: set[Site] = set()
        self.formats: dict[Site, str] = {}
        """Of layers whose δ came in half precision."""
        self.rounded: list[measure.Row] = []
        """Gradients before they were rounded to float16, between the loss and the network."""

    # ------------------------------------------------------- what a pass reports

    def wants(self, signal: Signal) -> bool:
        return signal in self.signals

    def row(self, tensor: Tensor) -> measure.Row:
        return measure.level(tensor) if self.levels_only else measure.row(tensor)

    def forward(self, site: Site, signal: Signal, row: measure.Row, *, again: bool = False) -> None:
        if again:
            for position in range(len(self.entries) - 1, -1, -1):
                if self.entries[position][:3] == (self.passes, site, signal):
                    del self.entries[position]
                    break
        self.entries.append((self.passes, site, signal, site.calls, row))

    def distribution(self, site: Site, signal: Signal, tensor: Tensor) -> None:
        """Keep the histogram of a layer's first run, on the few steps that have histograms."""
        if self.distributions is not None and (site, signal) not in self.distributions:
            self.distributions[site, signal] = measure.magnitudes(tensor)

    def extra(self, site: Site, signal: Signal, statistic: str, value: float | Tensor) -> None:
        self.extras.append((self.passes, site, signal, statistic, value))

    def active(self, site: Site, units: Tensor, samples: int) -> None:
        self.units.append((self.passes, site, units, samples))

    def through_time(self, site: Site, rms: Tensor) -> None:
        if self.open and self.in_backward:
            self.times.append((site, rms))

    def same(self, site: Site, signal: Signal, other: Site, other_signal: Signal) -> None:
        self.equal[site, signal] = (other, other_signal)

    def backward(self, site: Site, signal: Signal, call: int) -> Callable[[Tensor], None]:
        """A tensor hook that measures the gradient and leaves it as it is."""
        passed = self.passes

        def heard(gradient: Tensor) -> None:
            if not self.open or not self.in_backward:
                return
            started = perf_counter()
            try:
                site.heard = True
                self.heard.add(passed)
                if measure.measurable(gradient):
                    self.entries.append((passed, site, signal, call, self.row(gradient)))
                    if signal is Signal.DELTA:
                        self.distribution(site, signal, gradient)
                        if gradient.dtype in HALF:
                            self.formats[site] = HALF[gradient.dtype]
            except Exception as fault:  # noqa: BLE001  promise: watching never stops training
                self.failed(fault)
            self.seconds += perf_counter() - started

        return heard

    def before_rounding(self, gradient: Tensor) -> None:
        """A gradient is about to be rounded to float16."""
        started = perf_counter()
        try:
            if self.open and self.in_backward and measure.measurable(gradient):
                self.rounded.append(measure.row(gradient))
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self.failed(fault)
        self.seconds += perf_counter() - started

    def branch_gain(self, site: Site) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None]]:
        """Tensor hooks for y = x + f(x): the first keeps ∂L/∂y until the second has measured ∂L/∂x − ∂L/∂y."""
        passed = self.passes
        at_sum: list[Tensor] = []

        def keep(gradient: Tensor) -> None:
            if self.open and self.in_backward and measure.measurable(gradient):
                at_sum.append(gradient.detach())

        def compare(gradient: Tensor) -> None:
            if not self.open or not at_sum:
                return
            started = perf_counter()
            try:
                gain, cosine = measure.rest(gradient, at_sum.pop())
                self.extras.append((passed, site, Signal.DELTA, "branch_gain", gain))
                self.extras.append((passed, site, Signal.DELTA, "branch_cosine", cosine))
            except Exception as fault:  # noqa: BLE001  promise: watching never stops training
                self.failed(fault)
            self.seconds += perf_counter() - started

        return keep, compare

    # -------------------------------------------------- what an optimiser reports

    def optimiser(self, site: Site, signal: Signal, rows: list[measure.Row]) -> None:
        """Rows of the layer's matrices; a later report of the same step replaces an earlier one."""
        self.optimiser_rows[site, signal] = rows

    # ------------------------------------------------------------- the reduction

    def reduce(
        self, order: list[Site], units: dict[Site, ActiveUnits], scale: float
    ) -> tuple[dict[tuple[str, str], np.ndarray], Chronicle]:
        """One array over the layers for each column, and every row in the order of its making.

        Forward passes whose output no gradient came back to (a validation pass) are left out. Gradients are divided
        by the loss scale; after one of 0 they are unknown.
        """
        self.open = False
        kept = [entry for entry in self.entries if self._counts(entry[0], entry[2])]
        optimised = [(site, signal, row) for (site, signal), rows in self.optimiser_rows.items() for row in rows]
        table = measure.rows_to_host([entry[4] for entry in kept] + [row for _, _, row in optimised])
        for position, entry in enumerate(kept):
            if entry[2] in FROM_THE_LOSS and scale != 1.0:
                table[position, SCALED_MOMENTS] = table[position, SCALED_MOMENTS] / scale if scale else np.nan
        described = [(entry[1], entry[2]) for entry in kept] + [(site, signal) for site, signal, _ in optimised]
        chronicle = [(site, signal, table[position]) for position, (site, signal) in enumerate(described)]
        merged = self._merge(chronicle)
        return self._columns(order, merged, units), chronicle

    def _counts(self, passed: int, signal: Signal) -> bool:
        return signal not in FORWARD or not self.heard or passed in self.heard

    def _merge(self, chronicle: Chronicle) -> dict[tuple[Site, Signal], np.ndarray]:
        groups: dict[tuple[Site, Signal], list[np.ndarray]] = {}
        for site, signal, row in chronicle:
            groups.setdefault((site, signal), []).append(row)
        merged = {key: rows[0] if len(rows) == 1 else pool_rows(np.stack(rows)) for key, rows in groups.items()}
        for key, other in self.equal.items():
            if other in merged:
                merged.setdefault(key, merged[other])
        for site, signal in list(merged):
            if signal is Signal.PRE_ACTIVATION and site.activation is None and Signal.ACTIVATION in self.signals:
                merged.setdefault((site, Signal.ACTIVATION), merged[site, signal])
        return merged

    def _columns(
        self, order: list[Site], merged: dict[tuple[Site, Signal], np.ndarray], units: dict[Site, ActiveUnits]
    ) -> dict[tuple[str, str], np.ndarray]:
        position = {site: index for index, site in enumerate(order)}
        table: dict[Signal, np.ndarray] = {}
        for (site, signal), row in merged.items():
            if site in position:
                if signal not in table:
                    table[signal] = np.full((len(order), len(MOMENTS)), np.nan)
                table[signal][position[site]] = row
        columns: dict[tuple[str, str], np.ndarray] = {}
        for signal, values in table.items():
            values[np.ix_(np.isnan(values[:, 0]), COUNTS)] = 0.0
            for index, moment in enumerate(MOMENTS):
                columns[signal, moment] = values[:, index]
        self._add_extras(columns, position, units)
        return columns

    def _add_extras(
        self,
        columns: dict[tuple[str, str], np.ndarray],
        position: dict[Site, int],
        units: dict[Site, ActiveUnits],
    ) -> None:
        def put(key: tuple[str, str], site: Site, value: float) -> None:
            if site in position:
                columns.setdefault(key, np.full(len(position), np.nan))[position[site]] = value

        grouped: dict[tuple[Site, Signal, str], list[float]] = {}
        for passed, site, signal, statistic, value in self.extras:
            if self._counts(passed, signal):
                grouped.setdefault((site, signal, statistic), []).append(float(value))
        for (site, signal, statistic), values in grouped.items():
            put((signal, statistic), site, float(np.mean(values)))
        for passed, site, active, samples in self.units:
            if self._counts(passed, Signal.ACTIVATION):
                units.setdefault(site, ActiveUnits()).add(self.step, active, samples)
        for site, window in units.items():
            for statistic, value in zip(("dead", "units", "seen"), window.dead(), strict=True):
                put((Signal.ACTIVATION, statistic), site, float(value))
        for site in self.applied:
            put((Signal.UPDATE, "applied"), site, 1.0)

    def arriving(self) -> tuple[float, float] | None:
        """Rms and largest magnitude of what came from the loss before it was rounded to float16; None without."""
        if not self.rounded:
            return None
        row = pool_rows(measure.rows_to_host(self.rounded))
        return float(row[MOMENTS.index("rms")]), float(row[MOMENTS.index("abs_max")])

    def time_profiles(self, scale: float) -> list[tuple[Site, list[float]]]:
        """δ by time step, earliest first: of fused sequences, and of layers that ran three times or more in a loop."""
        profiles: dict[Site, list[np.ndarray]] = {}
        if scale == 0:
            return []
        for site, rms in self.times:
            profiles.setdefault(site, []).append(rms.cpu().numpy() / scale)
        result = []
        for site, measured in profiles.items():
            longest = max(len(profile) for profile in measured)
            alike = np.stack([profile for profile in measured if len(profile) == longest])
            result.append((site, [float(v) for v in np.sqrt(np.mean(alike**2, axis=0))]))
        looped: dict[Site, dict[int, list[np.ndarray]]] = {}
        kept = [entry for entry in self.entries if entry[2] is Signal.DELTA and entry[1].recurrent]
        kept = [entry for entry in kept if entry[1].kind != "recurrent" or "Cell" in entry[1].type]
        for entry, row in zip(kept, measure.rows_to_host([entry[4] for entry in kept]), strict=True):
            looped.setdefault(entry[1], {}).setdefault(entry[3], []).append(row)
        for site, by_call in looped.items():
            if len(by_call) >= SHORTEST_LOOP:
                rows = [pool_rows(np.stack(by_call[call])) for call in sorted(by_call)]
                result.append((site, [float(row[MOMENTS.index("rms")]) / scale for row in rows]))
        return result


SHORTEST_LOOP = 3


def first_non_finite(chronicle: Chronicle, signals: frozenset[Signal]) -> tuple[Site, Signal, np.ndarray] | None:
    """The first row among these signals that holds a NaN or an infinity."""
    for site, signal, row in chronicle:
        if signal in signals and row[NON_FINITE].any():
            return site, signal, row
    return None


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a nested structure of arguments or results."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    if hasattr(value, "__dataclass_fields__"):
        return [tensor for name in value.__dataclass_fields__ for tensor in tensors_in(getattr(value, name))]
    return []
