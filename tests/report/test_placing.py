"""Where ticks and labels go, and what thinning keeps."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from isometry.report.chart import Axis
from isometry.report.placing import layer_names, spread, thinned, ticks

NUMBERS = st.floats(-1e6, 1e6)


@given(st.lists(NUMBERS, min_size=1, max_size=3000), st.integers(4, 400))
def test_thinning_keeps_the_extremes_and_the_ends(values, most):
    x = np.arange(len(values), dtype=float)
    kept_x, kept_y = thinned(x, np.array(values), most)
    assert kept_y.min() == min(values)
    assert kept_y.max() == max(values)
    assert (kept_x[0], kept_x[-1]) == (x[0], x[-1])
    assert len(kept_x) <= max(most, 4) + 4
    assert (np.diff(kept_x) > 0).all()


def test_thinning_leaves_out_what_is_not_finite():
    x, y = thinned(np.arange(4.0), np.array([1.0, np.nan, np.inf, 2.0]))
    assert x.tolist() == [0, 3]
    assert y.tolist() == [1, 2]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_labels_do_not_touch_and_stay_inside(wanted):
    placed = spread(wanted, 5.0, 0.0, 100.0)
    assert all(-1e-6 <= at <= 100 + 1e-6 for at in placed)
    ordered = sorted(placed)
    assert all(b - a >= 5.0 - 1e-6 for a, b in itertools.pairwise(ordered))


def test_labels_with_room_stay_where_they_belong():
    assert spread([10.0, 90.0, 50.0], 5.0, 0.0, 100.0) == [10.0, 90.0, 50.0]


def test_log_ticks_say_what_values_mean():
    axis = Axis("δ", scale="log", remarks=((1e-9, "vanished"),))
    said = [tick.words for tick in ticks(axis, -12.0, 0.0)]
    assert "1e-9 · vanished" in said
    assert len(said) <= 8


def test_a_narrow_log_axis_still_has_ticks():
    assert len(ticks(Axis("δ", scale="log"), -3.4, -2.9)) >= 2


@given(st.floats(-1e6, 1e6), st.floats(1, 1e9))
def test_linear_ticks_lie_inside(low, extent):
    found = ticks(Axis("loss"), low, low + extent)
    assert all(low - 1e-6 * extent <= tick.at <= low + extent * (1 + 1e-6) for tick in found)
    assert len(found) <= 9


def test_few_names_stand_level():
    names = layer_names([f"fc{k}" for k in range(11)], length=500, size=12)
    assert len(names.ticks) == 11
    assert not names.leaning


def test_many_names_are_thinned_with_both_ends_kept():
    names = layer_names([f"layer{k // 3}.conv{k % 3}" for k in range(152)], length=500, size=12)
    assert names.thinned
    assert not names.leaning
    assert (names.ticks[0].at, names.ticks[-1].at) == (0, 151)


def test_a_dozen_long_names_lean():
    assert layer_names([f"encoder.block.{k}.attention" for k in range(12)], length=500, size=12).leaning


def test_a_few_long_names_beside_an_axis_are_written_whole():
    name = "replace activation (relu, σ_w 1.4)"
    assert layer_names(["untreated", name], length=100, size=12, upright=True).ticks[1].words == name
    assert len(layer_names([name] * 40, length=900, size=12, upright=True).ticks[1].words) < len(name)
