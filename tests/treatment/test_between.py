"""A number between two that were tried."""

from dataclasses import replace

import pytest

from isometry.diagnosis.finding import Diagnosis
from isometry.history.history import History
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import ChangeOptimizer, InsertNorm, Reinitialise, ScaleRate
from isometry.treatment.between import between
from isometry.treatment.prescription import Effect, Prescription

LAYERS = (Layer("fc", "linear", "Linear", weight_shape=(4, 4), fan_in=4, fan_out=4),)
RUN = Run(Architecture(LAYERS, "Net", "torch 2.13"), History.from_arrays([0], {}))
DIAGNOSIS = Diagnosis((), (), (), RUN)
NORM = InsertNorm(("fc",), "layer")


def plan(*edits, remedy="lower-rate"):
    return Prescription(remedy, edits, Effect.RETUNES, -0.5, ("T101",), "Do it.", "patch")


def test_the_geometric_mean_of_the_one_number_that_differs():
    found = between(plan(NORM, ScaleRate(0.1)), plan(NORM, ScaleRate(0.001)), DIAGNOSIS)
    assert found.edits == (NORM, ScaleRate(0.01))
    assert found.remedy == "lower-rate"
    assert found.expected is None
    assert "0.01: 0.001 and 0.1 were both better" in found.words
    assert "0.01" in found.patch
    assert between(plan(ScaleRate(0.02)), plan(ScaleRate(2.0)), DIAGNOSIS).edits == (ScaleRate(0.2),)


@pytest.mark.parametrize(
    "other",
    [
        plan(ScaleRate(0.05)),
        plan(ScaleRate(0.1)),
        plan(ScaleRate(0.001), NORM),
        plan(ChangeOptimizer("adam", 0.001)),
        replace(plan(ScaleRate(0.001)), remedy="raise-rate"),
    ],
)
def test_what_leaves_nothing_to_choose(other):
    assert between(plan(ScaleRate(0.1)), other, DIAGNOSIS) is None


def test_changes_that_differ_in_more_than_a_number_have_nothing_between_them():
    one, other = plan(Reinitialise(("fc",), 0.1)), plan(Reinitialise(("fc",), 10.0, orthogonal=True))
    assert between(one, other, DIAGNOSIS) is None
    assert between(plan(ChangeOptimizer("sgd", 0.1)), plan(ChangeOptimizer("adam", 0.001)), DIAGNOSIS) is None
