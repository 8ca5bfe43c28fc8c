"""Numbers held against seeds, and seeds against seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.classics.classic import Verdict
from isometry.classics.comparison import (
    chance_of_so_few,
    first_exceeds,
    is_within,
    mostly,
    mostly_less,
    of_pairs,
    place_of,
    scattered,
)

SEEDS = np.arange(20.0)
LISTS = st.lists(st.floats(-5, 5), min_size=1, max_size=9)


def test_a_number_is_placed_among_seeds():
    assert place_of(9.5, SEEDS) == "above 10 of 20 seeds"
    assert place_of(-1, SEEDS) == "below all 20 seeds"
    assert place_of(0, SEEDS) == "at the least of 20 seeds"
    assert place_of(99, SEEDS) == "above all 20 seeds"
    assert is_within(0, SEEDS) and is_within(19, SEEDS) and not is_within(19.1, SEEDS)


@given(LISTS, LISTS)
def test_pairs_are_shared_between_the_two_orders(first, second):
    assert of_pairs(first, second) + of_pairs(second, first) == pytest.approx(1)


def test_the_order_of_two_kinds_needs_more_than_chance():
    assert first_exceeds(SEEDS + 11, SEEDS) is Verdict.STANDS
    assert first_exceeds(SEEDS + 5, SEEDS) is Verdict.PARTLY
    assert first_exceeds(SEEDS + 1, SEEDS) is Verdict.FALLS
    assert first_exceeds(SEEDS, SEEDS + 11) is Verdict.FALLS


def test_what_holds_mostly_holds_more_often_than_a_coin_falls():
    assert mostly(SEEDS < 15)
    assert not mostly(SEEDS < 14)


def test_every_seed_has_its_point_and_the_text_where_it_told_something():
    shapes = scattered({"a": [3.0, 1.0], "b": [5.0, 5.0]}, (None, 4.0))
    assert [shape.words for shape in shapes] == [
        "one seed each, in rising order",
        "",
        "median",
        "the tutorial's one run",
    ]
    assert shapes[0].y.tolist() == [1, 3]
    assert shapes[2].y.tolist() == [2, 5]
    assert (shapes[3].x.tolist(), shapes[3].y.tolist()) == ([1], [4])


def test_chance_of_so_few_is_that_of_fisher():
    tea = [True, False, False, False], [True, True, True, False]  # 1 of 4 cups against 3 of 4
    assert chance_of_so_few(*tea) == pytest.approx(17 / 70)
    assert chance_of_so_few([False] * 20, [True] + [False] * 19) == pytest.approx(0.5)
    assert chance_of_so_few([False] * 20, [False] * 20) == 1


def test_pairs_of_one_seed_are_held_against_a_fair_coin():
    second = np.full(20, 0.5)
    assert mostly_less(np.where(SEEDS < 15, 0.0, 1.0), second) is Verdict.STANDS  # p = 0.021
    assert mostly_less(np.where(SEEDS < 14, 0.0, 1.0), second) is Verdict.PARTLY  # p = 0.058
    assert mostly_less(np.where(SEEDS < 10, 0.0, 1.0), second) is Verdict.FALLS
    assert mostly_less(np.where(SEEDS < 5, 0.0, 0.5), second) is Verdict.STANDS  # 5 of 5 unequal pairs: p = 0.031
    assert mostly_less(second, second) is Verdict.FALLS
