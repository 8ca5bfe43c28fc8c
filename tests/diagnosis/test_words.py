"""Phrases that findings share: they say what is, and leave the user's names alone."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Cause
from isometry.diagnosis.words import because, opening, per_layer, sentence, span


def cause(name: str, decades: float, words: str) -> Cause:
    return Cause(name, decades, f"{decades:+.1f} decades: {words}")


def test_one_cause_is_told_up_to_its_first_comma_outside_of_brackets():
    causes = [cause("between", -7.4, "between layers (pooling, dropout), or other readers"), cause("rest", -0.5, "x")]
    assert because(causes, 7.9, lost=True) == "of the 7.9 lost in all, 7.4 are between layers (pooling, dropout)"


def test_causes_that_cancel_are_told_as_two_sides_and_what_is_left():
    causes = [
        cause("weight alignment", 9.7, "a"),
        cause("between", 9.0, "b"),
        cause("saturation of sigmoid", -8.4, "c"),
        cause("slope of sigmoid", -7.8, "d"),
        cause("weight scale", -4.8, "e"),
        cause("slope alignment", -0.1, "f"),
    ]
    assert because(causes, 2.4, lost=True) == (
        "21.1 are lost, by saturation of sigmoid, slope of sigmoid and weight scale, "
        "and 18.7 won back, by weight alignment and what lies between layers: 2.4 are lost in all"
    )
    swapped = [cause(one.name, -(one.decades or 0.0), "g") for one in causes[:-2]]
    assert because(swapped, 2.5, lost=False) == (
        "16.2 are gained, by saturation of sigmoid and slope of sigmoid, "
        "and 18.7 lost again, by weight alignment and what lies between layers: 2.5 are gained in all"
    )


def test_a_side_of_which_only_a_part_is_large_says_so():
    causes = [cause("a", -6.0, "a"), cause("b", 2.0, "b"), *(cause(f"c{k}", 0.5, "c") for k in range(2))]
    assert because(causes, 3.0, lost=True) == "6.0 are lost, by a, and 3.0 won back, mostly by b: 3.0 are lost in all"


@pytest.mark.parametrize("names", [("layers.0", "layers.1", "layers.2"), ("layer_a", "layer_b", "layer_c")])
def test_names_that_say_that_they_are_layers_are_not_told_so_twice_nor_given_a_capital(names):
    told = per_layer(names, np.array([0.5, 0.5, 0.5]), "lose")
    assert told == f"{names[0]} … {names[2]} each lose 0.50 decades"
    assert sentence(told) == told
    assert sentence("at first " + told) == f"At first {told}"
    assert sentence(per_layer(names[:1], np.array([0.5]), "lose")) == f"{names[0]} loses 0.50 decades"


def test_other_names_are_introduced():
    assert sentence(per_layer(("0", "2"), np.array([0.5, 0.5]), "lose")) == "Layers 0 and 2 each lose 0.50 decades"
    assert sentence(per_layer(("layers",), np.array([0.5]), "lose")) == "Layer layers loses 0.50 decades"
    assert sentence(per_layer(("fc",), np.array([0.5]), "lose")) == "Layer fc loses 0.50 decades"


@pytest.mark.parametrize(
    ("names", "told"),
    [(("3",), "Layer 3"), (("0", "2", "4"), "Layers 0 … 4"), (("layers.0",), "layers.0"), (("layer",), "layer")],
)
def test_only_a_word_of_ours_opens_with_a_capital(names, told):
    assert opening(f"{span(names)} receives nothing") == f"{told} receives nothing"
