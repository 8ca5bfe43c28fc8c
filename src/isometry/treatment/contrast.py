"""Whether one arm of a trial did better than another, from the same seeds in both.

Seeds are paired: with the same initial weights and the same order of the data, what two trainings differ in is the
treatment, and much of the luck of a seed cancels in the difference of their scores.

A training that broke down has no score. It counts as worse than any number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, cos, inf, isfinite, log2, nan, pi, sin, sqrt, tan
from statistics import fmean, stdev
from typing import Any, Literal

import numpy as np

from isometry.diagnosis.limits import Limit
from isometry.errors import IsometryError
from isometry.network.trial import Course

__all__ = ["BEYOND", "CONFIDENCE", "Contrast", "Judged", "contrast", "far_behind", "number", "seeds_to_tell"]

Judged = Literal["helped", "no difference", "harmed"]

CONFIDENCE = Limit(0.95, "probability", "custom; of two arms that are alike, one pair in forty is told to help")
ROUNDING = Limit(1e-6, "share of the score", "float32: scores this close are the same number")
BROKEN_DOWN = Limit(10.0, "times the other arm's worst", "as far above the start as a loss that is told as blown up")
BEYOND = Limit(1e100, "", "no score of any meaning; squares of larger numbers leave float64")
FAR_BEHIND = Limit(
    0.1, "share of the score", "our own choice: seeds of a stuck network scatter by nothing, so that all would be far"
)


@dataclass(frozen=True, slots=True)
class Contrast:
    """What a treatment did to the score, over the seeds that both arms were trained from."""

    verdict: Judged
    words: str
    """Why, in one sentence without its full stop."""
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """Score with the treatment minus score without it, seed by seed; NaN where either training broke down."""
    mean: float
    """Of the differences over all seeds, a breakdown counted as the worst score of either arm. Where all trainings of
    an arm broke down, metrics are compared as they are; NaN without any."""
    low: float
    """Interval of the mean, by Student's law; NaN with fewer than two seeds."""
    high: float
    confidence: float
    """How often such an interval holds the mean, if differences are drawn from a normal law."""
    rescued: tuple[int, ...] = ()
    """Seeds from which training broke down without the treatment, and did not with it."""
    lost: tuple[int, ...] = ()
    """The other way round."""
    broken: tuple[int, ...] = ()
    """Seeds from which it broke down both ways."""
    ahead: tuple[int, ...] = ()
    """Seeds from which training came out better with the treatment."""
    survival: bool = False
    """It helped in that training no longer breaks down; that it also trains better is not shown."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "words": self.words,
            "seeds": list(self.seeds),
            "differences": list(self.differences),
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
            "rescued": list(self.rescued),
            "lost": list(self.lost),
            "broken": list(self.broken),
            "ahead": list(self.ahead),
            "survival": self.survival,
        }


def contrast(
    treated: Sequence[Course], untreated: Sequence[Course], *, confidence: float = CONFIDENCE.value
) -> Contrast:
    """Compare two arms over the seeds that both were trained from.

    The mean of the paired differences has an interval by Student's law; it helped where the interval lies above zero,
    and harmed where it lies below. All differences alike, the interval is a point. One seed has no interval, and two
    have a wide one: 12.7 standard errors to both sides at 95 %, three have 4.3. Where the untreated scores scatter
    widely, so do the differences, though all have one sign: then the signs decide, as soon as there are so many seeds
    that luck would give them one sign no more often than the confidence allows, 6 at 95 %.

    A training has broken down if its score or its last loss is not finite, or its loss ends ten times as far above zero
    as any of the other arm. Breakdowns alone tell a difference where one arm breaks down from every seed and the other
    from none; or from so many against none that luck would do so in one of forty cases at most: of 4 seeds 3, of 5 or 6
    seeds 4. Otherwise a breakdown counts as the worst score that any training had, which is the least that it can have
    cost. An arm that breaks down from some seed is never told to have helped. Nor do breakdowns tell anything where the
    broken training has a metric that is as good as the other's.

    Args:
        treated: one course a seed.
        untreated: the same.
        confidence: of the interval; greater than 0.95 where the arm is one of several that are looked at.

    Raises:
        IsometryError: the arms have no seed in common.

    Sources: Student 1908; signs, Arbuthnott 1710; that of several comparisons each needs a greater confidence,
        Bonferroni 1936; breakdowns in two arms, maximised over how likely one is, Barnard 1947.
    """
    pairs = _Pairs.of(treated, untreated)
    mean = fmean(pairs.bounded) if pairs.bounded else nan
    reach = _reach(pairs.bounded, confidence)
    low, high = mean - reach, mean + reach
    verdict, words, survival = _judged(pairs, mean, low, high, confidence=confidence)
    return Contrast(
        verdict=verdict,
        words=words,
        seeds=pairs.seeds,
        differences=tuple(pairs.by_seed.get(seed, nan) for seed in pairs.seeds),
        mean=mean,
        low=low,
        high=high,
        confidence=confidence,
        rescued=pairs.rescued,
        lost=pairs.lost,
        broken=pairs.broken,
        ahead=pairs.ahead(),
        survival=survival,
    )


def seeds_to_tell(confidence: float) -> int:
    """How many seeds tell a difference by its sign alone, whatever their scatter, if it is the same from all."""
    return ceil(log2(2 / (1 - confidence)) - ROUNDING.value)


def far_behind(course: Course, untreated: Sequence[Course]) -> str:
    """Why one training of an arm shows that the others need not be made; empty if it shows nothing of the kind.

    It is far behind where it lies below whatever one more training without the treatment would reach with a probability
    of 95 %, by Student's law, and more than a tenth of the score below their mean. One score tells no scatter, so
    nothing is far behind it.

    Args:
        course: the first of an arm.
        untreated: all courses without the treatment.
    """
    scores = [other.score for other in untreated if not _broke_down(other, [course])]
    if _broke_down(course, untreated):
        if not isfinite(course.score):
            return "its score is not finite"
        return f"its score is {number(course.score)}, which is a breakdown"
    if len(scores) < 2:
        return ""
    mean = fmean(scores)
    reach = _reach(scores, CONFIDENCE.value) * sqrt(len(scores) + 1)
    least = mean - max(reach, FAR_BEHIND.value * abs(mean))
    if course.score >= least:
        return ""
    return f"its score is {number(course.score)}, and without a change it is {number(least)} or more 19 times of 20"


# Pairs ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The seeds of two arms, sorted by where a training broke down."""

    seeds: tuple[int, ...]
    by_seed: dict[int, float]
    """Differences where both have a score."""
    bounded: tuple[float, ...]
    """Those of all seeds, a breakdown counted as the worst score; none where an arm has no score at all. Where all
    trainings of an arm broke down and left metrics, those."""
    as_told: dict[int, float]
    """Differences of scores that are numbers, though a training broke down: a metric may be one all the same."""
    size: float
    """Largest absolute score."""
    rescued: tuple[int, ...]
    lost: tuple[int, ...]
    broken: tuple[int, ...]

    def ahead(self) -> tuple[int, ...]:
        """Seeds from which the treated training came out better."""
        return self._seeds_that_differ(+1, self.rescued)

    def behind(self) -> tuple[int, ...]:
        """Seeds from which the untreated training came out better."""
        return self._seeds_that_differ(-1, self.lost)

    def _seeds_that_differ(self, sign: int, fallen: Sequence[int]) -> tuple[int, ...]:
        """By more than rounding; where one of two trainings broke down, what both have for a score must not deny it."""
        noise = ROUNDING.value * self.size
        known = {**{seed: self.as_told.get(seed, sign * inf) for seed in fallen}, **self.by_seed}
        return tuple(seed for seed in self.seeds if sign * known.get(seed, nan) > noise)

    @classmethod
    def of(cls, treated: Sequence[Course], untreated: Sequence[Course]) -> "_Pairs":
        with_it = {course.seed: course for course in treated}
        without = {course.seed: course for course in untreated}
        seeds = tuple(seed for seed in without if seed in with_it)
        if not seeds:
            raise IsometryError(
                f"Seeds {sorted(with_it)} with a treatment and {sorted(without)} without it: no seed in common. "
                f"Train both arms from the same seeds."
            )
        ours, theirs = [with_it[seed] for seed in seeds], [without[seed] for seed in seeds]
        after = {course.seed: course.score for course in ours if not _broke_down(course, theirs)}
        before = {course.seed: course.score for course in theirs if not _broke_down(course, ours)}
        scores = [*after.values(), *before.values()]
        high, low = after or _metrics(ours), before or _metrics(theirs)
        worst = min([*high.values(), *low.values()], default=nan)
        ends = {seed: with_it[seed].score - without[seed].score for seed in seeds}
        return cls(
            seeds=seeds,
            by_seed={seed: after[seed] - before[seed] for seed in seeds if seed in after and seed in before},
            bounded=tuple(high.get(seed, worst) - low.get(seed, worst) for seed in seeds if high and low),
            as_told={seed: difference for seed, difference in ends.items() if isfinite(difference)},
            size=max(map(abs, scores), default=0.0),
            rescued=tuple(seed for seed in seeds if seed in after and seed not in before),
            lost=tuple(seed for seed in seeds if seed in before and seed not in after),
            broken=tuple(seed for seed in seeds if seed not in before and seed not in after),
        )


def _metrics(courses: Sequence[Course]) -> dict[int, float]:
    """What is left to compare of an arm of which all trainings broke down: metrics, where each has one."""
    told = {course.seed: course.score for course in courses if course.by_metric and abs(course.score) < BEYOND.value}
    return told if len(told) == len(courses) else {}


def _broke_down(course: Course, others: Sequence[Course]) -> bool:
    """Whether its score is no number, or its loss has left the numbers or all proportion to those of the other arm.

    A metric has a scale of its own, and guesses may well be counted of a network that gives NaN alone: so it is no
    measure of this; the last loss is.
    """
    if not abs(course.score) < BEYOND.value or not np.isfinite(course.losses[-1:]).all():
        return True
    losses = [other.losses if other.by_metric else np.append(other.losses, other.score) for other in others]
    seen = np.abs(np.concatenate(losses))
    known = seen[seen < BEYOND.value]
    last = course.losses[-1:] if course.by_metric else np.array([-course.score])
    return bool(len(known)) and bool((last > BROKEN_DOWN.value * float(known.max())).any())


# Verdicts -------------------------------------------------------------------------------------------------------------


def _judged(pairs: _Pairs, mean: float, low: float, high: float, *, confidence: float) -> tuple[Judged, str, bool]:
    """The verdict, why, and whether all that is shown is that training survives."""
    told = _breakdowns(pairs)
    if not pairs.by_seed and not pairs.rescued and not pairs.lost:
        return "no difference", told, False
    words = "; ".join(part for part in (told, _measured(pairs, mean, low, high, confidence)) if part)
    noise = ROUNDING.value * pairs.size
    better = all(pairs.as_told.get(seed, inf) > noise for seed in pairs.rescued)
    worse = all(pairs.as_told.get(seed, -inf) < -noise for seed in pairs.lost)
    fewer = better and not pairs.lost and not pairs.broken and _beyond_luck(pairs.rescued, pairs.seeds, confidence)
    more = worse and not pairs.rescued and not pairs.broken and _beyond_luck(pairs.lost, pairs.seeds, confidence)
    if pairs.rescued and not better:
        words += "; where it no longer does, its score is no better"
    enough = len(pairs.seeds) >= seeds_to_tell(confidence)
    if enough and not low > noise and pairs.ahead() == pairs.seeds:
        return "helped", f"{words}; ahead from each, which luck does once in {2 ** len(pairs.seeds):,} times", False
    if high < -noise or (more and not mean > 0) or (enough and pairs.behind() == pairs.seeds):
        return "harmed", words, False
    if pairs.lost or pairs.broken:
        return "no difference", words, False
    if low > noise:
        return "helped", words, False
    survives = fewer and not mean < 0
    return ("helped" if survives else "no difference"), words, survives


def _beyond_luck(fallen: Sequence[int], seeds: Sequence[int], confidence: float) -> bool:
    """Whether so many breakdowns in one arm, and none in the other, tell a difference.

    From all seeds, they do by definition. Otherwise it is asked how often luck would do so, if a breakdown were equally
    likely in both arms, and just as likely as suits luck best.
    """
    if not fallen or len(fallen) == len(seeds):
        return bool(fallen)
    number_of_seeds, luck = len(seeds), 0.0
    for likely in np.linspace(0, 1, 201)[1:-1]:
        chances = (
            comb(number_of_seeds, k) * likely**k * (1 - likely) ** (number_of_seeds - k)
            for k in range(len(fallen), number_of_seeds + 1)
        )
        luck = max(luck, sum(chances) * (1 - likely) ** number_of_seeds)
    return luck <= (1 - confidence) / 2


def _breakdowns(pairs: _Pairs) -> str:
    """Where training broke down, in words; empty where it did not."""
    before, after = len(pairs.rescued) + len(pairs.broken), len(pairs.lost) + len(pairs.broken)
    if not before and not after:
        return ""
    if len(pairs.seeds) == 1:
        breaks = "breaks down both ways" if before and after else f"breaks down {'without' if before else 'with'} it"
        return f"training {breaks}, from the one seed that there is"
    return f"training breaks down from {before} of {len(pairs.seeds)} seeds without it and from {after} with it"


def _measured(pairs: _Pairs, mean: float, low: float, high: float, confidence: float) -> str:
    """The differences in words."""
    if not pairs.bounded:
        return ""
    noise, count = ROUNDING.value * pairs.size, len(pairs.bounded)
    if max(map(abs, pairs.bounded)) <= noise:
        return "the same score from every seed" if count > 1 else "the same score"
    words = f"{number(abs(mean))} {'ahead' if mean >= 0 else 'behind'}"
    if count == 1:
        return f"{words} from the one seed that there is, which tells no scatter"
    least = ", a breakdown counted as the worst score" if len(pairs.by_seed) < count else ""
    if high - low <= noise:
        return f"{words} from each of {count} seeds{least}"
    return (
        f"{words} on average over {count} seeds{least}; "
        f"{100 * confidence:.3g} % interval {number(low)} … {number(high)}"
    )


def number(value: float) -> str:
    """Three digits, with a real minus sign; ``not finite`` where it is not."""
    return f"{value:.3g}".replace("-", "−") if isfinite(value) else "not finite"


# Student --------------------------------------------------------------------------------------------------------------


def _reach(values: Sequence[float], confidence: float) -> float:
    """Half the width of the interval of their mean; NaN of fewer than two."""
    if len(values) < 2:
        return nan
    return _student(confidence, len(values) - 1) * stdev(values) / sqrt(len(values))


def _student(probability: float, freedom: int) -> float:
    """How many standard deviations to both sides of the mean hold so much of Student's law; exact but for rounding.

    ``diagnosis.judge`` has a series that is faster and too short for one or two degrees of freedom.

    Sources: Abramowitz & Stegun 1964, equations 26.7.3 and 26.7.4, solved by halving.
    """
    low, high = 0.0, pi / 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < probability else (low, middle)
    return sqrt(freedom) * tan(low)


def _within(angle: float, freedom: int) -> float:
    """Probability of |t| < √freedom · tan(angle)."""
    if freedom == 1:
        return 2 * angle / pi
    first = 2 + freedom % 2
    term = total = cos(angle) if freedom % 2 else 1.0
    for k in range(first, freedom, 2):
        term *= cos(angle) ** 2 * (k - 1) / k
        total += term
    return 2 * (angle + sin(angle) * total) / pi if freedom % 2 else sin(angle) * total
