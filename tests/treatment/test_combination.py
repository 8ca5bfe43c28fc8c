"""Two changes at once, and when the second is asked for."""

from dataclasses import replace

import pytest

from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.history.history import History
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import InsertNorm, ScaleRate, SetPrecision, WarmUp
from isometry.treatment.combination import further_than
from isometry.treatment.naming import named
from isometry.treatment.prescription import Effect, Prescription

LAYERS = (Layer("fc", "linear", "Linear", weight_shape=(4, 4), fan_in=4, fan_out=4),)
RUN = Run(Architecture(LAYERS, "Net", "torch 2.13"), History.from_arrays([0], {}))
SECOND = Prescription("raise-rate", (ScaleRate(10.0),), Effect.RETUNES, None, ("U1",), "Faster.", "")


def diagnosed(*codes):
    findings = [Finding(Severity.HARMS, "", problem="loss_spike", code=code) for code in codes]
    return Diagnosis(tuple(findings), (), (), RUN)


def plan(*answers):
    return Prescription("norm", (InsertNorm(("fc",), "layer"),), Effect.RESTRUCTURES, None, answers, "Norm.", "")


@pytest.mark.parametrize(
    ("before", "answers", "after"),
    [
        (["A1", "B1"], ["A1"], ["B1"]),
        (["A1"], ["A1"], ["U1"]),  # hidden by what is gone
        (["A1", "B1"], ["A1", "B1"], ["U1"]),
    ],
)
def test_what_took_a_trouble_away_is_tried_with_the_best_against_what_is_left(before, answers, after):
    both = further_than(plan(*answers), diagnosed(*before), diagnosed(*after), lambda _: [SECOND])
    assert both is not None
    assert both.edits == (InsertNorm(("fc",), "layer"), ScaleRate(10.0))
    assert both.remedy == "norm + raise-rate"


@pytest.mark.parametrize(
    ("before", "answers", "after"),
    [
        (["A1"], ["A1"], []),  # healthy
        (["A1", "B1"], ["A1"], ["A1", "B1"]),  # nothing was taken away
        (["A1", "B1"], ["A1", "B1"], ["B1", "U1"]),  # the new one may be of its making
    ],
)
def test_what_asks_for_no_second_change(before, answers, after):
    assert further_than(plan(*answers), diagnosed(*before), diagnosed(*after), lambda _: [SECOND]) is None


def test_two_changes_of_the_rate_are_one():
    first = replace(SECOND, remedy="lower-rate", edits=(ScaleRate(0.3),), answers=("A1",))
    second = replace(SECOND, remedy="warm-up", edits=(ScaleRate(0.3), WarmUp(86)))
    both = further_than(first, diagnosed("A1", "B1"), diagnosed("B1"), lambda _: [second])
    assert both.edits == (ScaleRate(0.09), WarmUp(86))
    back = replace(SECOND, edits=(ScaleRate(1 / 0.3),))
    assert further_than(first, diagnosed("A1", "B1"), diagnosed("B1"), lambda _: [back]) is None


def test_two_formats_are_told_apart():
    one, other = (
        Prescription("change-precision", (SetPrecision(name),), Effect.RETUNES, None, ("N203",), "", "")
        for name in ("bfloat16", "float32")
    )
    assert named(one) == "change-precision (bfloat16)"
    assert named(other) == "change-precision (float32)"
