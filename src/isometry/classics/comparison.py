"""A number of a text held against many seeds, and the seeds of two trainings held against each other."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.classics.classic import Verdict
from isometry.report.chart import Points, Shape

__all__ = [
    "chance_of_so_few",
    "first_exceeds",
    "is_within",
    "mostly",
    "mostly_less",
    "of_pairs",
    "place_of",
    "scattered",
]

Numbers = NDArray[np.float64]

SIGNIFICANT = 1.96
"""Standard deviations that chance exceeds in one of twenty cases."""
BY_CHANCE = 0.05
"""Probability below which an order of pairs is not put down to chance."""


def place_of(value: float, seeds: ArrayLike) -> str:
    """Where a text's number lies among those of the seeds: ``above 9 of 20 seeds``."""
    values = np.asarray(seeds, dtype=np.float64)
    below, count = int((values < value).sum()), len(values)
    if below == 0:
        return f"below all {count} seeds" if value < values.min() else f"at the least of {count} seeds"
    if below == count:
        return f"above all {count} seeds"
    return f"above {below} of {count} seeds"


def is_within(value: float, seeds: ArrayLike) -> bool:
    """Whether it is a number that these seeds give: neither below all of them nor above."""
    values = np.asarray(seeds, dtype=np.float64)
    return bool(values.min() <= value <= values.max())


def of_pairs(first: ArrayLike, second: ArrayLike) -> float:
    """Share of the pairs, one of each, in which the first is greater; ties count half.

    Sources: Mann & Whitney 1947.
    """
    a, b = np.asarray(first, dtype=np.float64)[:, None], np.asarray(second, dtype=np.float64)
    return float(((a > b) + 0.5 * (a == b)).mean())


def first_exceeds(first: ArrayLike, second: ArrayLike) -> Verdict:
    """Whether values of one kind are greater than those of another.

    It stands where the middle halves do not overlap, stands in part where the order is more than chance, else falls.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if np.quantile(a, 0.25) > np.quantile(b, 0.75):
        return Verdict.STANDS
    by_chance = math.sqrt((len(a) + len(b) + 1) / (12 * len(a) * len(b)))
    return Verdict.PARTLY if of_pairs(a, b) > 0.5 + SIGNIFICANT * by_chance else Verdict.FALLS


def chance_of_so_few(first: ArrayLike, second: ArrayLike) -> float:
    """Probability that so few of the cases fall to the first kind, or fewer, if both kinds are alike.

    Sources: Fisher 1922, the exact test, one-sided.
    """
    a, b = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    few, cases = int(a.sum()), int(a.sum() + b.sum())
    ways = sum(math.comb(len(a), taken) * math.comb(len(b), cases - taken) for taken in range(few + 1))
    return ways / math.comb(len(a) + len(b), cases)


def mostly(holds: ArrayLike) -> bool:
    """Whether something holds in more of the seeds than chance would have it, as a coin falls (sign test)."""
    seeds = np.asarray(holds, dtype=np.bool_)
    return bool(seeds.mean() > 0.5 + SIGNIFICANT / 2 / math.sqrt(len(seeds)))


def mostly_less(first: ArrayLike, second: ArrayLike) -> Verdict:
    """Whether one kind of network has the smaller values, both kinds from the same seeds.

    It stands where the sign test over pairs of one seed says so: exact, one-sided, equal pairs left out. It stands in
    part where most of the unequal pairs have that order, but as many as chance gives too; else it falls.

    Sources: Dixon & Mood 1946.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    less, unequal = int((a < b).sum()), int((a != b).sum())
    by_chance = sum(math.comb(unequal, k) for k in range(less, unequal + 1)) / 2**unequal
    if by_chance < BY_CHANCE:
        return Verdict.STANDS
    return Verdict.PARTLY if 2 * less > unequal else Verdict.FALLS


def scattered(groups: Mapping[str, ArrayLike], told: Sequence[float | None] | None = None) -> list[Shape]:
    """Points of every seed above the groups' places 0, 1 …, their medians, and what a text told of one run.

    Within a group the values rise from left to right, so that their distribution can be read.
    """
    shapes: list[Shape] = []
    for place, values in enumerate(groups.values()):
        ordered = np.sort(np.asarray(values, dtype=np.float64))
        across = place + np.linspace(-0.3, 0.3, len(ordered))
        shapes.append(Points("one seed each, in rising order" if place == 0 else "", across, ordered))
    medians = np.array([np.median(np.asarray(values, dtype=np.float64)) for values in groups.values()])
    shapes.append(Points("median", np.arange(len(medians), dtype=np.float64), medians, style=0))
    if told is not None:
        known = [(place, value) for place, value in enumerate(told) if value is not None]
        at, values = (np.array(part, dtype=np.float64) for part in zip(*known, strict=True))
        shapes.append(Points("the tutorial's one run", at, values, style=2))
    return shapes
