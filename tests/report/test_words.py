"""How numbers, layers and steps are said."""

import math

import pytest

from isometry.report.words import called, clean, decades, layer_range, number, shortened, times

ORDER = [f"fc{k}" for k in range(1, 12)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (-0.25, "−0.25"),
        (1234.5, "1,234"),
        (2, "2"),
        (3.1e-9, "3.1e−9"),
        (0.0009999999, "0.001"),
        (1e7, "1e7"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        (None, "–"),
    ],
)
def test_numbers_are_short(value, words):
    assert number(value) == words


@pytest.mark.parametrize(("value", "words"), [(-6.62, "−6.6"), (0.25, "+0.25"), (0.001, "0"), (-0.05, "−0.05")])
def test_decades_bear_their_sign(value, words):
    assert decades(value) == words


@pytest.mark.parametrize(
    ("exponent", "words"), [(-3, "a thousandth"), (-6, "a millionth"), (3, "a thousand times"), (-1.3, "1/20")]
)
def test_shares_are_said_as_one_would(exponent, words):
    assert times(exponent) == words


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((), "the whole network"),
        (("fc3",), "fc3"),
        (("fc1", "fc2"), "fc1, fc2"),
        (tuple(ORDER[:10]), "fc1 … fc10"),
        (("fc1", "fc5", "fc9"), "fc1, fc5, fc9"),
        (("gone", "fc5"), "gone, fc5"),
    ],
)
def test_layers_are_named_by_their_ends_where_they_are_neighbours(layers, words):
    assert layer_range(layers, ORDER) == words


def test_scattered_layers_are_counted_where_there_is_no_room():
    assert layer_range(ORDER[::2], ORDER, 20) == "fc1, fc3 and 4 more"


def test_a_long_name_keeps_both_ends():
    assert shortened("encoder.layers.11.linear", 11) == "encod…inear"


def test_control_characters_are_shown_not_obeyed():
    assert clean("a\x1b[31m\nb\u202e") == "a�[31m�b�"


def test_a_name_that_is_no_word_is_called_a_layer():
    assert (called("3"), called("fc3")) == ("layer 3", "fc3")
