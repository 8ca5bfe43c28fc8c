"""One arm against another, over the same seeds."""

from dataclasses import replace
from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.errors import IsometryError
from isometry.network.trial import Course
from isometry.treatment.contrast import CONFIDENCE, Contrast, contrast, far_behind, seeds_to_tell

OPPOSITE = {"helped": "harmed", "harmed": "helped", "no difference": "no difference"}


def arm(*scores: float, losses: tuple[float, ...] = (2.0, 1.0)) -> tuple[Course, ...]:
    """One course a seed, from seed 0 on."""
    return tuple(Course(seed, np.array(losses), score) for seed, score in enumerate(scores))


def compare(treated: tuple[float, ...], untreated: tuple[float, ...], confidence: float = 0.95) -> Contrast:
    return contrast(arm(*treated), arm(*untreated), confidence=confidence)


# Differences


def test_interval_is_that_of_student() -> None:
    found = compare((0.5, 0.7, 0.6), (0.1, 0.2, 0.3))
    assert found.mean == pytest.approx(0.4)
    reach = 4.302653 * 0.1 / sqrt(3)  # tabulated quantile for two degrees of freedom; the differences scatter by 0.1
    assert (found.low, found.high) == pytest.approx((0.4 - reach, 0.4 + reach))
    assert found.verdict == "helped"


@pytest.mark.parametrize(
    ("seeds", "confidence", "tabulated"),
    [
        (2, 0.95, 12.7062),
        (3, 0.95, 4.30265),
        (4, 0.95, 3.18245),
        (5, 0.95, 2.77645),
        (11, 0.95, 2.22814),
        (31, 0.95, 2.04227),
        (3, 0.99, 9.92484),
        (6, 0.99, 4.03214),
    ],
)
def test_quantiles_are_those_of_the_tables(seeds: int, confidence: float, tabulated: float) -> None:
    scores = np.random.default_rng(seeds).normal(size=seeds)
    found = compare(tuple(scores), (0.0,) * seeds, confidence)
    assert found.high - found.mean == pytest.approx(tabulated * scores.std(ddof=1) / sqrt(seeds), rel=1e-5)


def test_differences_that_scatter_widely_tell_by_their_sign_from_enough_seeds() -> None:
    gains = (0.001, 0.9, 0.002, 0.8, 0.001, 0.003, 0.7)
    assert [seeds_to_tell(confidence) for confidence in (0.95, 0.975, 0.9875)] == [6, 7, 8]
    found = compare(gains, (0.0,) * 7, 0.975)
    assert found.low < 0 < found.mean
    assert (found.verdict, found.ahead, found.survival) == ("helped", (0, 1, 2, 3, 4, 5, 6), False)
    assert "ahead from each, which luck does once in 128 times" in found.words
    assert compare(gains[1:], (0.0,) * 6, 0.975).verdict == "no difference"
    assert compare((*gains[1:], -0.001), (0.0,) * 7, 0.975).verdict == "no difference"
    assert compare((0.0,) * 7, gains, 0.975).verdict == "harmed"


def test_a_metric_of_a_training_whose_loss_is_no_number_counts_as_broken_down() -> None:
    lost = [Course(seed, np.array([1.0, nan]), score, by_metric=True) for seed, score in enumerate((0.6, 0.5, 0.6))]
    well = [Course(seed, np.array([1.0, 0.1]), score, by_metric=True) for seed, score in enumerate((0.7, 0.7, 0.7))]
    assert contrast(well, lost).verdict == "helped"
    assert contrast(well, lost).rescued == (0, 1, 2)
    assert contrast(well, lost).mean == pytest.approx(0.4 / 3)
    as_good = [replace(course, score=0.7) for course in lost]
    assert contrast(well, as_good).verdict == "no difference"


def test_interval_across_zero_is_no_difference() -> None:
    found = compare((0.5, 0.1, 0.4), (0.1, 0.2, 0.3))
    assert found.mean > 0 > found.low
    assert found.verdict == "no difference"


def test_what_one_confidence_tells_a_greater_one_may_not() -> None:
    scores = (0.5, 0.7, 0.6), (0.1, 0.2, 0.3)
    assert compare(*scores, confidence=0.95).verdict == "helped"
    assert compare(*scores, confidence=0.99).verdict == "no difference"


def test_differences_all_alike_have_a_point_for_an_interval() -> None:
    found = compare((0.5, 1.0, 0.75), (0.25, 0.75, 0.5))
    assert found.low == found.mean == found.high == 0.25
    assert found.verdict == "helped"
    assert compare((0.25, 0.75, 0.5), (0.5, 1.0, 0.75)).verdict == "harmed"


@pytest.mark.parametrize("change", [0.0, 1e-9])
def test_equal_scores_are_no_difference_even_without_scatter(change: float) -> None:
    found = compare((0.5 + change, 0.7 + change, 0.9 + change), (0.5, 0.7, 0.9))
    assert found.verdict == "no difference"
    assert "the same score" in found.words


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    found = compare((0.9,), (0.1,))
    assert isnan(found.low)
    assert isnan(found.high)
    assert found.mean == pytest.approx(0.8)
    assert found.verdict == "no difference"
    assert "one seed" in found.words


def test_seeds_are_paired_whatever_their_order() -> None:
    treated, untreated = arm(0.5, 0.7, 0.6), arm(0.1, 0.2, 0.3)
    assert contrast(treated[::-1], untreated) == contrast(treated, untreated)


def test_only_seeds_of_both_arms_count() -> None:
    found = contrast(arm(0.9), arm(0.1, 0.2, 0.3))
    assert found.seeds == (0,)


def test_arms_without_a_seed_in_common_cannot_be_compared() -> None:
    with pytest.raises(IsometryError, match="no seed in common"):
        contrast([], arm(0.1))


scores = st.lists(
    st.tuples(st.one_of(st.floats(-3, 3), st.just(nan)), st.one_of(st.floats(-3, 3), st.just(nan))),
    min_size=1,
    max_size=5,
)


@given(scores)
def test_what_helps_one_way_does_not_help_the_other_way(pairs: list[tuple[float, float]]) -> None:
    """Nor does it harm both ways; all else is the opposite, but for breakdowns that are left on one side."""
    ours, theirs = tuple(zip(*pairs, strict=True))
    there, back = compare(ours, theirs), compare(theirs, ours)
    if "no difference" not in (there.verdict, back.verdict):
        assert back.verdict == OPPOSITE[there.verdict]
    if not any(isnan(score) for score in (*ours, *theirs)):
        assert back.verdict == OPPOSITE[there.verdict]


@given(scores, st.sampled_from([1e-6, 0.1, 10.0, 1e6]))
def test_verdict_does_not_depend_on_the_unit_of_the_score(pairs: list[tuple[float, float]], unit: float) -> None:
    ours, theirs = ([round(score, 3) for score in side] for side in zip(*pairs, strict=True))
    losses = (30.0,)  # as far out as no score here, so that none counts as broken down
    plain = contrast(arm(*ours, losses=losses), arm(*theirs, losses=losses))
    scaled = contrast(
        arm(*(unit * score for score in ours), losses=(30.0 * unit,)),
        arm(*(unit * score for score in theirs), losses=(30.0 * unit,)),
    )
    if plain.low == plain.high:
        return  # a point or no interval at all: rounding may give it an inside
    edges = [abs(edge) for edge in (plain.low, plain.high) if not isnan(edge)]
    if not edges or min(edges) > 1e-5:
        assert scaled.verdict == plain.verdict


def test_equal_arms_are_rarely_told_to_differ() -> None:
    """Of pairs that differ by luck alone one in forty is told to help, within three standard errors."""
    random, tries = np.random.default_rng(0), 1500
    verdicts = [compare(tuple(random.normal(size=3)), tuple(random.normal(size=3))).verdict for _ in range(tries)]
    expected = (1 - CONFIDENCE.value) / 2
    assert abs(verdicts.count("helped") / tries - expected) < 3 * sqrt(expected / tries)


# Breakdowns


def test_arm_that_ends_where_all_broke_down_has_helped() -> None:
    found = compare((0.5, 0.6, 0.7), (nan, nan, nan))
    assert found.verdict == "helped"
    assert found.rescued == (0, 1, 2)
    assert isnan(found.mean)
    assert all(isnan(difference) for difference in found.differences)


@pytest.mark.parametrize("broken", [nan, inf, -inf, -1e300])
def test_one_seed_tells_a_breakdown(broken: float) -> None:
    assert compare((0.5,), (broken,)).verdict == "helped"
    assert compare((broken,), (0.5,)).verdict == "harmed"
    assert compare((broken,), (broken,)).verdict == "no difference"


def test_loss_that_exploded_within_the_number_format_is_a_breakdown() -> None:
    treated, untreated = arm(-0.3, -0.2, -0.4), arm(-1e20, -1e5, -1e7)
    found = contrast(treated, untreated)
    assert (found.verdict, found.rescued) == ("helped", (0, 1, 2))
    assert contrast(untreated, treated).verdict == "harmed"


def test_loss_that_did_not_fall_is_none() -> None:
    found = contrast(arm(-1e-4, -2e-4, -3e-4), arm(-2.0, -2.1, -2.05))
    assert (found.verdict, found.rescued) == ("helped", ())
    assert found.mean == pytest.approx(2.05, rel=1e-3)


def test_breakdown_counts_as_the_worst_score_of_either_arm() -> None:
    found = compare((0.9, 0.8, 0.7), (nan, nan, 0.1))
    assert found.mean == pytest.approx((0.8 + 0.7 + 0.6) / 3)
    assert found.verdict == "helped"
    assert "worst score" in found.words


@pytest.mark.parametrize(
    ("seeds", "enough"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 4), (8, 4)], ids=lambda value: str(value)
)
def test_few_breakdowns_may_be_luck(seeds: int, enough: int) -> None:
    """Scores that are equal otherwise, so that the breakdowns alone decide."""
    for fallen in range(1, seeds + 1):
        broken, whole = (nan,) * fallen + (0.5,) * (seeds - fallen), (0.5,) * seeds
        assert compare(whole, broken).verdict == ("helped" if fallen >= enough else "no difference")
        assert compare(broken, whole).verdict == ("harmed" if fallen >= enough else "no difference")


def test_rescue_that_costs_more_elsewhere_than_it_is_known_to_bring_is_no_difference() -> None:
    assert compare((0.5, 0.5, 0.5, 0.4), (nan, nan, nan, 0.5)).verdict == "helped"
    assert compare((0.1, 0.1, 0.1, 0.1), (nan, nan, nan, 0.9)).verdict == "no difference"


@pytest.mark.parametrize("likely", [0.1, 0.3, 0.5, 0.7])
def test_breakdowns_that_come_as_often_both_ways_are_rarely_told_to_differ(likely: float) -> None:
    """Nor do they widen what the scores may do by chance, one in forty to either side; within three standard errors."""
    random, tries, seeds = np.random.default_rng(1), 500, 5

    def draw() -> tuple[float, ...]:
        return tuple(np.where(random.random(seeds) < likely, nan, random.normal(size=seeds)))

    helped = sum(compare(draw(), draw()).verdict == "helped" for _ in range(tries))
    assert helped / tries < 0.025 + 3 * sqrt(0.025 / tries)


def test_breakdowns_from_other_seeds_are_no_difference() -> None:
    found = compare((0.5, nan, 0.9), (nan, 0.5, 0.1))
    assert (found.verdict, found.rescued, found.lost) == ("no difference", (0,), (1,))


def test_breakdown_that_is_left_forbids_to_say_helped() -> None:
    assert compare((0.5, 0.6, nan), (nan, nan, nan)).verdict == "no difference"
    found = compare((0.9, 0.91, 0.92, nan), (0.1, 0.11, 0.12, nan))
    assert (found.verdict, found.broken) == ("no difference", (3,))
    assert "1 of 4 seeds without it and from 1 with it" in found.words


def test_words_have_minus_signs_and_no_full_stop() -> None:
    found = compare((-0.5, -0.7, -0.9), (-0.4, -0.5, -1.2))
    assert "−" in found.words
    assert "-" not in found.words
    assert not found.words.endswith(".")


def test_plain_data_holds_every_field() -> None:
    found = compare((0.5, 0.7, nan), (0.1, 0.2, nan))
    assert set(found.to_dict()) == set(Contrast.__slots__)


# Far behind


def test_first_course_within_the_scatter_goes_on() -> None:
    assert far_behind(arm(0.45)[0], arm(0.5, 0.6, 0.55)) == ""


def test_first_course_far_below_the_scatter_is_told() -> None:
    assert "0.1" in far_behind(arm(0.1)[0], arm(0.5, 0.51, 0.52))


def test_seeds_that_do_not_scatter_leave_a_tenth() -> None:
    assert far_behind(arm(-2.31)[0], arm(-2.30, -2.30, -2.30)) == ""
    assert far_behind(arm(-2.60)[0], arm(-2.30, -2.30, -2.30))


def test_nothing_is_far_behind_a_single_score_or_a_breakdown() -> None:
    assert far_behind(arm(-1.0)[0], arm(0.5)) == ""
    assert far_behind(arm(-1.0)[0], arm(nan, nan, nan)) == ""
    assert far_behind(arm(-1.0)[0], arm(0.5, nan, nan)) == ""


@pytest.mark.parametrize("untreated", [(0.5, 0.6), (nan, nan), (0.5,)])
def test_breakdown_of_the_first_course_is_told(untreated: tuple[float, ...]) -> None:
    assert "not finite" in far_behind(arm(nan)[0], arm(*untreated))


def test_a_metric_is_not_held_against_losses():
    def arm(scores, loss):
        return [Course(seed, np.array([2.3, loss]), score, by_metric=True) for seed, score in enumerate(scores)]

    found = contrast(arm((-2.0, -2.2, -1.9), 0.1), arm((-90.0, -91.0, -90.5), 2.3))
    assert found.verdict == "helped"
    assert found.rescued == ()
    assert found.low > 80
    blown = arm((-90.0, -91.0, -90.5), 1e9)
    assert contrast(arm((-2.0, -2.2, -1.9), 0.1), blown).rescued == (0, 1, 2)


def test_a_breakdown_that_costs_nothing_of_the_metric_is_no_help():
    """The accuracy of a classifier whose loss blew up is that of chance; so is one that learns nothing."""

    def arm(score, loss):
        return [Course(seed, np.array([2.3, loss]), score, by_metric=True) for seed in range(3)]

    stuck, blown = arm(0.1, 2.3), arm(0.1, 1e9)
    found = contrast(stuck, blown)
    assert (found.verdict, found.rescued) == ("no difference", (0, 1, 2))
    assert "its score is no better" in found.words
    assert contrast(blown, stuck).verdict == "no difference"
    assert contrast(arm(0.2, 2.3), blown).verdict == "helped"


def test_help_that_is_only_the_end_of_breakdowns_is_told_apart():
    assert compare((0.5, 0.6, 0.7), (nan, nan, nan)).survival
    assert not compare((0.5, 0.6, 0.7), (0.1, 0.2, 0.3)).survival
    assert not compare((nan, 0.6, 0.7), (nan, nan, nan)).survival
