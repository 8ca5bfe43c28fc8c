"""Stretches of layers that lose about the same each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.diagnosis.stretches import segments, telling


def test_segments_find_the_stretch_that_loses():
    gains = np.array([0.0, 0.01, -0.6, -0.62, -0.58, -0.6, -0.61, -0.59, 0.02, 0.0, -0.01])
    found = segments(gains, noise=0.06)
    assert [(piece.first, piece.last) for piece in found] == [(0, 1), (2, 7), (8, 10)]
    assert found[1].decades == pytest.approx(-0.6)


def test_noise_alone_is_one_segment_in_most_cases():
    generator = np.random.default_rng(0)
    cut = [len(segments(generator.normal(0, 0.06, 40), noise=0.06)) > 1 for _ in range(200)]
    assert np.mean(cut) < 0.05


@pytest.mark.parametrize("values", [[], [0.3], [0.3, 0.3], [np.nan, 0.3, np.nan]])
def test_short_sequences_have_one_segment_at_most(values):
    assert len(segments(np.array(values))) == int(np.isfinite(values).any())


def test_values_that_are_not_finite_are_passed_over():
    (piece,) = segments(np.array([np.nan, 0.5, -np.inf, 0.5, 0.5, np.nan]))
    assert (piece.first, piece.last, piece.decades) == (1, 4, pytest.approx(0.5))


@settings(max_examples=settings().max_examples // 2)
@given(values=st.lists(st.floats(-3, 3), min_size=1, max_size=30), noise=st.floats(0.01, 1.0))
def test_segments_cover_everything_once_and_keep_the_sum(values, noise):
    found = segments(np.array(values), noise=noise)
    assert [place for piece in found for place in range(piece.first, piece.last + 1)] == list(range(len(values)))
    total = sum(piece.decades * (piece.last - piece.first + 1) for piece in found)
    float64_rounding = 1e-9
    assert total == pytest.approx(sum(values), abs=float64_rounding)


def test_two_stretches_that_both_matter_are_told_apart():
    steps = np.array([0.1, 0.1, 0.11, 0.09, 0.6, 0.61, 0.59, 0.6, 0.0, 0.01, 1.9])
    assert telling(steps) == (slice(4, 8), slice(10, 11))


def test_one_layer_that_blocks_stands_alone():
    assert telling(np.array([0.02, 0.03, 0.02, 4.0, 0.03, 0.02])) == (slice(3, 4),)


def test_a_smooth_drift_is_not_cut_up():
    assert telling(np.linspace(0.5, 1.0, 30)) == (slice(0, 30),)


@given(steps=st.lists(st.floats(-2, 2), min_size=1, max_size=25))
def test_what_is_told_lies_apart_and_in_order(steps):
    told = telling(np.array(steps))
    places = [place for part in told for place in range(part.start, part.stop)]
    assert places
    assert places == sorted(set(places))
    assert places[-1] < len(steps)
