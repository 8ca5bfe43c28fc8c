import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.history.inspection import JacobianFacts
from isometry.report.chart import Level, Line, Mark, Note, Points, within
from isometry.report.checks.pictures import check_album
from isometry.report.checks.spectrum import spectrum_chart
from isometry.report.checks.words import nearness, spectrum_words
from tests.report.checks.made import broken, computed, deep, healthy, single

NAN = float("nan")


def levels(chart):
    return [shape.at for shape in chart.of(Level)]


def test_every_sample_is_a_thin_line_and_their_median_a_thick_one():
    chart = spectrum_chart(computed([[3.0, 0.5], [2.0, 0.4], [1.0, 0.03]]))
    thin, thick = chart.of(Line)[:-1], chart.of(Line)[-1]
    assert [line.y.tolist() for line in thin] == [[3.0, 0.5], [2.0, 0.4], [1.0, 0.03]]
    assert {line.role for line in thin} == {"context"}
    assert thick.y.tolist() == [2.0, 0.4] and thick.words == "median of 3 samples"
    assert chart.title == "The Jacobian's singular values run from 3 down to 0.03, median 0.75"
    assert chart.y.scale == "log" and levels(chart) == [1.0]
    assert chart.table.rows == (("1", "1", "2", "3"), ("2", "0.03", "0.4", "0.5"))


@pytest.mark.parametrize("value", [1e-30, 1e-3, 1.0, 1e20])
def test_all_values_and_the_one_of_an_isometry_are_inside_the_picture(value):
    chart = spectrum_chart(computed([[value, value], [value, value]]))
    (low, high) = within(chart)[1]
    assert low < min(0, np.log10(value)) and max(0, np.log10(value)) < high
    assert high - low >= 1


def test_samples_that_depend_on_each_other_are_one_line():
    chart = spectrum_chart(computed([[3.0, 2.0, 1.0, 0.5]], samples=2, together=True))
    assert [line.words for line in chart.of(Line)] == ["2 samples together"]
    assert "depend on each other" in chart.reading


def test_a_single_singular_value_stands_by_its_sample():
    chart = spectrum_chart(computed([[0.4], [0.0], [NAN], [3.0]]))
    assert chart.x.words == "sample" and chart.x.names == ("1", "2", "3", "4")
    np.testing.assert_array_equal(chart.of(Points)[0].y, [0.4, 0.0, NAN, 3.0])
    assert {(mark.x, mark.symbol) for mark in chart.of(Mark)} == {(1.0, "zero"), (2.0, "nan")}
    assert not chart.of(Line)


def test_zeros_and_nan_are_marked_and_spoil_no_axis():
    facts = computed([[2.0, 0.5, 0.0], [3.0, 0.0, 0.0], [NAN, NAN, NAN]])
    chart = spectrum_chart(facts)
    marks = [(mark.x, mark.symbol, mark.words) for mark in chart.of(Mark)]
    assert marks[:2] == [(1.0, "zero", "0 in 1 sample"), (2.0, "zero", "0 in 2 samples")]
    assert marks[2][1:] == ("nan", "not finite in 1 sample")
    assert np.isfinite(within(chart)).all()
    assert len(chart.of(Line)) == 3
    assert spectrum_words(facts) == (
        "All 3 singular values of each of 3 samples: median 0.25, 10 % to 90 % at 0 … 2.5. The Jacobian of 1 sample is "
        "not finite. 3 of 6 are 0, or below the range of the number type."
    )


def test_a_network_that_lets_nothing_through_has_a_picture_too():
    facts = computed([[0.0, 0.0], [0.0, 0.0]])
    chart = spectrum_chart(facts)
    assert chart.title == "No small change of the input reaches the output"
    assert len(chart.of(Mark)) == 2 and np.isfinite(within(chart)).all()
    assert spectrum_words(facts) == "All 2 singular values of each of 2 samples: 0."


def test_what_may_be_rounding_is_told_apart_and_counts_as_zero():
    facts = computed([[1.0, 0.5, 3e-8], [1.0, 0.5, 2e-3]])
    chart = spectrum_chart(facts)
    assert levels(chart) == [1.0, 1e-6]
    assert [note.words for note in chart.of(Note)] == ["1: dynamical isometry", "below: rounding"]
    assert chart.title == "The Jacobian's singular values run from 1 down to 0, median 0.5"
    assert "1 of 6 are so far below the largest" in spectrum_words(facts)
    assert levels(spectrum_chart(computed([[1.0, 0.5, 2e-6]]))) == [1.0]


def test_the_same_small_numbers_are_no_rounding_where_all_are_small():
    assert "rounding" not in spectrum_words(computed([[3e-20, 1e-20], [2e-20, 1e-20]]))


def test_the_words_say_where_most_of_them_lie():
    values = [[float(k) for k in range(10, 0, -1)]]
    assert (
        spectrum_words(computed(values)) == "All 10 singular values of 1 sample: median 5.5, 10 % to 90 % at 1.9 … 9.1."
    )
    assert spectrum_words(computed(values, samples=2, together=True)).startswith(
        "All 10 singular values of 2 samples together, which depend on each other: median 5.5"
    )
    assert spectrum_words(computed([[0.2], [0.2]])) == "The only singular value of each of 2 samples: 0.2."


def test_what_was_not_computed_says_so_in_words_and_among_the_pictures():
    told = nearness(deep())
    assert told[1] == "Not all singular values were computed: inputs and outputs are more than 128 each."
    missing = {entry.name: entry.reason for entry in check_album(deep()).missing}
    assert missing["singular-values"] == "inputs and outputs are more than 128 each"
    assert nearness(broken()) == ["The Jacobian was not measured: the input is no tensor of real numbers."]
    assert nearness(single()) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (None, "was not measured"),
        (JacobianFacts(0, 0, 0, NAN, NAN, NAN, "whole numbers"), "whole numbers"),
        (computed([[NAN, NAN]]), "not finite"),
    ],
)
def test_no_picture_of_nothing(facts, words):
    with pytest.raises(NotRecorded, match=words):
        spectrum_chart(facts)


def test_a_check_shows_it():
    assert "singular-values" in [chart.name for chart in check_album(healthy()).all]
