"""Curves over steps: lines, shade and signs."""

import numpy as np
import pytest

from isometry.report.chart import Axis, Line, Mark, Ribbon
from isometry.report.curves import curves, first_and_last, table_over_steps, typical
from tests.runs import make_run

LOG, LINEAR = Axis("size", scale="log"), Axis("mean")


def of(kind, shapes):
    return [shape for shape in shapes if isinstance(shape, kind)]


def test_few_layers_are_a_line_each_in_their_order_without_a_shade():
    values = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])
    shapes = curves(values, make_run(weight_mean=values), LINEAR)
    assert [line.words for line in of(Line, shapes)] == ["fc1", "fc2", "fc3"]
    assert [line.shade for line in of(Line, shapes)] == [0, 0.5, 1]
    assert not of(Ribbon, shapes)


def test_many_layers_become_few_lines_and_a_shade_that_covers_all():
    values = np.tile(np.logspace(-5, -2, 200), (3000, 1))
    values[1234, 77] = 1e3
    shapes = curves(values, make_run(weight_gradient_std=values), LOG)
    assert len(of(Line, shapes)) == 7
    assert all(len(line.x) < 300 for line in of(Line, shapes))
    (ribbon,) = of(Ribbon, shapes)
    assert ribbon.words == "all 200 layers"
    assert (ribbon.low.min(), ribbon.high.max()) == (pytest.approx(1e-5), 1e3)


def test_negative_values_keep_their_place_on_a_linear_axis():
    values = np.array([[-1.0], [-2.0]])
    (line,) = of(Line, curves(values, make_run(weight_mean=values), LINEAR))
    assert line.y.tolist() == [-1, -2]


def test_zeros_are_signs_on_a_logarithmic_axis_alone():
    values = np.array([[1.0, 1.0], [1.0, 0.0]])
    run = make_run(weight_gradient_std=values)
    assert [(mark.x, mark.symbol, mark.words) for mark in of(Mark, curves(values, run, LOG))] == [
        (1.0, "zero", "fc2: exactly 0")
    ]
    assert not of(Mark, curves(values, run, LINEAR))


def test_gaps_and_infinity_do_not_reach_the_lines():
    values = np.array([[1.0, np.nan], [np.inf, 2.0], [3.0, np.nan]])
    shapes = curves(values, make_run(weight_mean=values), LINEAR)
    assert [line.y.tolist() for line in of(Line, shapes)] == [[1, 3], [2]]
    assert [mark.words for mark in of(Mark, shapes)] == ["fc1: infinite"]


def test_a_layer_without_values_is_left_out():
    values = np.array([[1.0, np.nan]])
    run = make_run(weight_mean=values)
    assert len(of(Line, curves(values, run, LINEAR))) == 1
    assert [row[0] for row in table_over_steps(values, run).rows] == ["fc1"]
    assert np.isnan(typical(values)[1])


def test_first_and_last_skip_what_is_not_finite():
    first, last = first_and_last(np.array([[np.nan, np.nan], [1.0, np.nan], [2.0, np.nan], [np.inf, np.nan]]))
    assert (first[0], last[0]) == (1, 2)
    assert np.isnan(first[1]) and np.isnan(last[1])
