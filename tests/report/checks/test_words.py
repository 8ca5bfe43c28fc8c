"""Sentences and tables that all forms of a check share."""

from dataclasses import replace

import numpy as np
import pytest

from isometry.diagnosis.check import Counterfactual
from isometry.history.inspection import JacobianFacts
from isometry.network.edits import AddSkip
from isometry.report.checks.tables import change_rows, layer_rows, telling_rows
from isometry.report.checks.words import (
    course,
    expectation,
    headline,
    inside_words,
    jacobian_words,
    place,
    reach,
    reference,
    size,
)
from tests.report.checks.made import broken, deep, healthy, sick, single, without_layers


@pytest.mark.parametrize(
    ("value", "said"),
    [(-6.98, "−6.98"), (0.001, "0"), (-123.456, "−123.5"), (np.nan, "–"), (-np.inf, "−∞"), (np.inf, "∞")],
)
def test_decades_have_two_digits(value, said):
    assert size(value) == said


def test_a_band_is_told_from_end_to_end():
    assert reach(-7.2, -6.7) == "−7.20 … −6.70"
    assert reach(-np.inf, -1.0) == "−∞ … −1.00"
    assert reach(np.nan, 1.0) == "–"
    assert reach(0.0, 0.0) == reach(-0.002, 0.002) == "0"


def test_a_value_without_a_band_lies_nowhere():
    assert place(-1.0, -2.0, 0.0) == "inside"
    assert place(-np.inf, -2.0, 0.0) == "below"
    assert place(1.0, -2.0, 0.0) == "above"
    assert place(1.0, np.nan, 0.0) == place(np.nan, -2.0, 0.0) == place(0.0, 0.0, 0.0) == ""


def test_a_course_is_told_in_the_direction_of_its_signal():
    names = ("a", "b", "c")
    assert course("δ", np.array([-7.0, -3.0, 0.0]), names, backwards=True) == "δ falls by 7.0 decades from c to a"
    assert course("z", np.array([0.0, 1.0, 2.0]), names, backwards=False) == "z grows by 2.0 decades from a to c"
    assert course("δ", np.array([-np.inf, -3.0, 0.0]), names, backwards=True) == "δ does not reach a"
    assert course("z", np.array([np.nan, np.nan, 0.0]), names, backwards=False) == "z is known at fewer than two layers"


def test_what_is_expected_is_said_of_networks_that_live():
    prediction = sick().prediction
    assert expectation(prediction) == "δ is predicted to fall by 7.0 decades from fc12 to fc1"
    assert expectation(replace(prediction, dead=0.8)) == "δ is predicted not to reach fc1"
    assert expectation(single().prediction) == "δ is predicted at fewer than two layers"


def test_the_layer_that_delta_is_held_against_is_named():
    assert reference(sick().prediction) == "fc12"
    assert reference(without_layers().prediction) == "the output"


def test_the_verdict_is_that_of_the_worst_finding():
    assert headline(sick()) == "The gradient vanishes"
    assert headline(healthy()) == "Healthy before its first step"
    assert headline(without_layers()) == "Nothing could be checked"


def test_how_much_the_prediction_explains_is_counted():
    assert inside_words(sick()) == "Every measured value lies in its predicted band."
    assert inside_words(deep()).startswith("79 % of the measured values")
    assert inside_words(without_layers()) == "No measured value could be held against a prediction."


def test_a_signal_that_is_gone_is_outside_its_band():
    check = sick()
    backward = check.backward.copy()
    backward[0] = -np.inf
    gone = replace(check, backward=backward)
    assert gone.inside < 1
    assert layer_rows(gone.prediction, gone)[0][-1] == "δ below"


def test_the_jacobian_is_one_sentence_beside_an_isometry():
    said = jacobian_words(JacobianFacts(784, 10, 20, 0.0021, 12.0, 0.41))
    assert said == (
        "Between 784 inputs and 10 outputs the Jacobian's squared singular values (how much it stretches directions) "
        "have the mean 0.0021 and, in units of that mean squared, the variance 12, and the largest singular value is "
        "at least 0.41; in an isometry these are 1, 0 and 1."
    )
    assert broken().jacobian is not None
    assert jacobian_words(broken().jacobian) == "The Jacobian was not measured: the input is no tensor of real numbers."


def test_of_a_long_network_only_what_tells_is_listed():
    check = deep()
    rows = telling_rows(check.prediction, check)
    assert [row if isinstance(row, str) else row[0] for row in rows] == [
        "fc1",
        "… 13 more outside their bands",
        "fc15",
        "… 13 more outside their bands",
        "fc29",
        "… 11 more outside their bands",
        "fc41",
        "… 1 more inside their bands",
        "fc43",
        "… 14 more inside their bands",
        "fc58",
        "… 11 more inside their bands",
        "fc70",
        "… 1 more inside their bands",
        "fc72",
        "… 13 more inside their bands",
        "fc86",
        "… 13 more inside their bands",
        "fc100",
    ]
    assert len(telling_rows(check.prediction)) == 14
    assert len(telling_rows(sick().prediction, sick())) == 12


def test_what_was_left_out_is_counted_by_where_it_lies():
    check = deep()
    forward = replace(check.prediction.forward, low=np.full(100, np.nan))
    blind = replace(check, prediction=replace(check.prediction, forward=forward), backward=np.full(100, np.nan))
    assert "… 13 more without a band" in telling_rows(blind.prediction, blind)


def test_a_change_that_leaves_much_of_the_loss_is_no_rescue():
    remarks = {row[0]: row[-1] for row in change_rows(sick().counterfactuals)}
    assert remarks == {
        "layer norm after sigmoid": "",
        "He + ReLU": "",
        "tanh at its critical point": "",
        "layer norm before sigmoid": "no rescue",
        "as it is": "◂ this network",
        "half the weights": "worse",
    }


def test_a_change_that_turns_loss_into_growth_overshoots():
    edit = (AddSkip(("fc1",)),)
    changes = (Counterfactual("skips", edit, 2.0, 1.0, 0.1), Counterfactual("as it is", (), -4.4, 0.0, 0.1))
    assert [row[-1] for row in change_rows(changes)] == ["overshoots", "◂ this network"]


def test_where_nothing_is_lost_nothing_needs_a_rescue():
    edit = (AddSkip(("fc1",)),)
    changes = (Counterfactual("skips", edit, 0.3, 0.2, 0.1), Counterfactual("as it is", (), -0.4, 0.0, 0.1))
    assert [row[-1] for row in change_rows(changes)] == ["", "◂ this network"]


def test_a_change_under_which_nothing_arrives_says_so():
    changes = (Counterfactual("skips", (AddSkip(("fc1",)),), -np.inf, np.nan, np.nan),)
    assert list(change_rows(changes)) == [("skips", "−∞", "", "–", "no gradient arrives")]
