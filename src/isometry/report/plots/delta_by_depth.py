"""δ along depth: the picture of vanishing and exploding gradients."""

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Level, Line, Mark, Points, Shape, Table
from isometry.report.columns import chains, ends, listed, log10, norms, optional, telling_rows
from isometry.report.plot import plot
from isometry.report.words import called, clean, decades, measured, plural

Numbers = NDArray[np.float64]

SMALLEST = {"float64": 4.9e-324, "float32": 1.4e-45, "bfloat16": 9.2e-41, "float16": 6.0e-8}
"""The smallest positive number that each type can hold. Source: IEEE 754; bfloat16 has float32's range of exponents."""
LEVEL = 0.5
"""Decades between the ends below which the title calls the profile level; words only, nothing is judged by it."""


@plot(
    "delta-by-depth",
    place=10,
    proves=("vanishing_gradient", "exploding_gradient", "poor_initialization"),
)
def delta_by_depth(run: Run) -> Chart:
    """δ at every layer, on a log scale, at the first, the middle and the last recorded step.

    Also at the one in which δ changes most on its way, where none of these shows that; the title speaks of it.

    The signal travels from right (output) to left (input). A straight slope is an exponential loss or gain: so many
    decades per layer. A level line is health. Layers beside the main path (residual branches, layers before a
    norm) are dots.
    """
    delta, unit = norms(run, Signal.DELTA)
    steps, names = run.history.steps, run.architecture.names
    found = chains(run.architecture)
    rows = _rows(delta, steps, found[0])
    shapes: list[Shape] = []
    for style, row in enumerate(rows):
        shapes += _profile(run, delta[row], found, row, style)
    if not any(isinstance(shape, Line) and np.isfinite(log10(shape.y)).any() for shape in shapes):
        raise NotRecorded("δ was positive at no layer of the steps shown")
    shapes += _levels(delta[rows[0]], found[0], names)
    title, alt = _told(run, delta, found[0], rows)
    return Chart(
        title=title,
        reading="δ runs from the output (right) to the input (left); a straight slope is an exponential.",
        x=Axis("layer, input first", scale="layers", names=names),
        y=Axis("size of δ = ∂L/∂z", unit=unit, scale="log", remarks=_range_remarks(run)),
        shapes=tuple(shapes),
        alt=alt,
        table=_table(names, delta, rows, steps),
    )


def _profile(run: Run, profile: Numbers, found: list[NDArray[np.int64]], row: int, style: int) -> list[Shape]:
    """One recorded step: a line for each chain, dots beside it, and signs for what a log scale cannot place."""
    said = f"step {int(run.history.steps[row]):,}"
    shapes: list[Shape] = []
    for place, chain in enumerate(found):
        shown = chain[np.isfinite(profile[chain]) & (profile[chain] > 0)]
        x = shown.astype(np.float64)
        words = said if place == 0 else ""
        shapes.append(Line(words, x, profile[shown], style=style, markers=len(profile) <= 60))
    beside = np.setdiff1d(np.flatnonzero(np.isfinite(profile) & (profile > 0)), np.concatenate(found))
    if beside.size and style == 0:  # one set is enough to see where the branches lie
        shapes.append(
            Points(
                f"{said}, beside the main path (branches, before a norm)",
                beside.astype(np.float64),
                profile[beside],
            )
        )
    shapes += _signs(run, profile, row, said)
    implied = _implied(run, profile, found[0])
    if implied is not None:
        shapes.append(implied)
    return shapes


def _signs(run: Run, profile: Numbers, row: int, said: str) -> list[Shape]:
    zero = np.flatnonzero(profile == 0)
    shapes: list[Shape] = []
    for symbol, statistic in (("nan", "nan"), ("inf", "inf")):
        counts = optional(run, Signal.DELTA, statistic)
        for k in np.flatnonzero(counts[row] > 0) if counts is not None else ():
            word = "NaN" if symbol == "nan" else "Inf"
            shapes.append(Mark(float(k), symbol, f"{said}: {word} at {clean(run.architecture.names[k])}"))  # type: ignore[arg-type]
    zero_words = f"below {_dtype(run)}'s range" if _underflows(run, profile) else "exactly 0"
    shapes += [Mark(float(k), "zero", f"{said}: {zero_words} at {clean(run.architecture.names[k])}") for k in zero]
    return shapes


def _dtype(run: Run) -> str:
    kinds = [layer.dtype for layer in run.architecture if layer.trainable]
    return max(set(kinds), key=kinds.count) if kinds else "float32"


def _underflows(run: Run, profile: Numbers) -> bool:
    """Whether the zeros are numbers too small to be held.

    So it is where the layers towards the input are all 0 and δ was near the type's smallest number just before.
    """
    zero = np.flatnonzero(profile == 0)
    positive = np.flatnonzero(np.isfinite(profile) & (profile > 0))
    if not zero.size or not positive.size or zero.max() > positive.min():
        return False
    return bool(profile[positive.min()] < SMALLEST.get(_dtype(run), SMALLEST["float32"]) * 1e4)


def _slope(profile: Numbers, main: NDArray[np.int64]) -> tuple[float, float] | None:
    """Least-squares line of log10 δ over depth, (decades per layer, log10 at position 0)."""
    logs = log10(profile)[main]
    known = np.isfinite(logs)
    if known.sum() < 3:
        return None
    slope, start = np.polyfit(main[known].astype(np.float64), logs[known], 1)
    return float(slope), float(start)


def _implied(run: Run, profile: Numbers, main: NDArray[np.int64]) -> Line | None:
    """Where δ would be if the type could hold it: the slope of the layers before, continued."""
    if not _underflows(run, profile):
        return None
    fitted = _slope(profile, main)
    zero = np.flatnonzero(profile == 0)
    if fitted is None or not zero.size:
        return None
    slope, start = fitted
    x = np.array([0.0, float(zero.max() + 1)])
    y = start + slope * x
    if y.min() < -300:
        return None
    return Line(f"implied by the slope: 1e{y[0]:.0f}".replace("-", "−"), x, 10.0**y, role="implied")


def _range_remarks(run: Run) -> tuple[tuple[float, str], ...]:
    dtype = _dtype(run)
    smallest = SMALLEST.get(dtype, 0.0)
    return ((smallest, f"end of {dtype}"),) if smallest > 1e-300 else ()


def _levels(profile: Numbers, main: NDArray[np.int64], names: tuple[str, ...]) -> list[Shape]:
    """What sizes mean beside what reaches the output side."""
    found = ends(profile, main)
    if found is None:
        return []
    head = float(profile[found[1]])
    span = log10(profile[main])
    low, high = float(np.nanmin(span)), float(np.nanmax(span))
    said = {
        1e-3: f"a thousandth of {called(names[found[1]])}'s",
        1e-6: "a millionth: vanished",
        1e3: f"a thousand times {called(names[found[1]])}'s",
        1e6: "a million times: exploded",
    }
    if high - low > 25:
        said = {factor: words for factor, words in said.items() if factor in (1e-6, 1e6)}
    return [Level(head * factor, words) for factor, words in said.items() if low <= np.log10(head * factor) <= high]


def _rows(delta: Numbers, steps: NDArray[np.int64], main: NDArray[np.int64]) -> list[int]:
    """The steps to show."""
    rows = telling_rows(delta, steps)
    changes = _changes(delta, main)
    most = int(changes.argmax())
    return sorted({*rows, most}) if changes[most] > changes[rows].max() + LEVEL else rows


def _changes(delta: Numbers, main: NDArray[np.int64]) -> Numbers:
    """By how many decades, up or down, δ changes between the ends of each step's profile; −1 where it has none."""
    found = [ends(profile, main) for profile in delta]
    return np.array(
        [
            -1.0 if at is None else abs(float(np.log10(profile[at[0]]) - np.log10(profile[at[1]])))
            for profile, at in zip(delta, found, strict=True)
        ]
    )


def _told(run: Run, delta: Numbers, main: NDArray[np.int64], rows: list[int]) -> tuple[str, str]:
    names, steps = run.architecture.names, run.history.steps
    changes = np.where([_underflows(run, delta[row]) for row in rows], np.inf, _changes(delta[rows], main))
    telling = rows[int((changes >= changes.max() - LEVEL).argmax())]  # of those that tell as much, the first
    title = f"{_sentence(run, delta[telling], main)}, at step {int(steps[telling]):,}"
    sentences = []
    for row in rows:
        said = _sentence(run, delta[row], main)
        sentences.append(f"At step {int(steps[row]):,} {said[0].lower() if said[0] != 'δ' else 'δ'}{said[1:]}.")
    alt = f"Line chart of the size of δ at {plural(len(names), 'layer')}, log scale. " + " ".join(sentences)
    return title, alt


def _sentence(run: Run, profile: Numbers, main: NDArray[np.int64]) -> str:
    """What one step's profile says, with its number."""
    names = run.architecture.names
    found = ends(profile, main)
    if found is None:
        return "δ reaches fewer than two layers"
    first, last = found
    if _underflows(run, profile):
        lost = int(np.flatnonzero(profile == 0).max())
        fitted = _slope(profile, main)
        implied = f"; the slope implies {decades(fitted[0] * (last - 0))} decades in all" if fitted else ""
        implied = implied.replace("+", "−") if fitted and fitted[0] > 0 else implied
        return f"δ falls below {_dtype(run)}'s range at {called(names[lost])}{implied}"
    change = float(np.log10(profile[first]) - np.log10(profile[last]))
    way = f"from {called(names[last])} to {called(names[first])}"
    if abs(change) < LEVEL:
        return f"δ keeps its size {way}: {decades(change)} decades"
    return f"δ {'grows' if change > 0 else 'falls'} by {abs(change):.1f} decades {way}"


def _table(names: tuple[str, ...], delta: Numbers, rows: list[int], steps: NDArray[np.int64]) -> Table:
    shown = listed(names, 60)
    return Table(
        ("layer", *(f"δ at step {int(steps[row]):,}" for row in rows)),
        tuple((clean(names[k]), *(measured(float(delta[row][k])) for row in rows)) for k in shown),
    )
