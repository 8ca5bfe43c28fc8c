"""L102 tells why no weight moves."""

import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.weights_at_rest import weights_at_rest
from isometry.errors import NotRecorded
from tests.runs import make_run

STEPS = 8
OPTIMIZER = {"optimizer": [{"step": 0, "name": "SGD", "lr": 0.1, "parameters": ["fc1.weight", "fc2.weight"]}]}
RATE = {"lr": [0.1] * STEPS}


def moved(update: float, **more):
    given = {"events": OPTIMIZER, "scalars": RATE, "weight_gradient_rms": 1.0, "input_rms": 1.0, "delta_rms": 1.0}
    return make_run(**{**given, "update_rms": [[update, update]] * STEPS, **more})


def test_moving_weights_are_no_finding() -> None:
    assert weights_at_rest(moved(1e-12)) == ()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("rate zero", {"scalars": {"lr": [0.0] * STEPS}}),
        ("cleared gradients", {"weight_gradient_rms": 0.0}),
        ("cleared gradients", {"weight_gradient_rms": float("nan")}),
        ("steps without effect", {}),
    ],
)
def test_resting_weights_stop_the_training_for_a_reason(name: str, more: dict) -> None:
    (finding,) = weights_at_rest(moved(0.0, **more))
    assert (finding.severity, finding.causes[0].name) == (Severity.STOPS, name)


def test_optimiser_that_never_steps_is_told() -> None:
    run = make_run(delta_rms=[[1.0, 1.0]] * STEPS, events=OPTIMIZER)
    (finding,) = weights_at_rest(run)
    assert finding.causes[0].name == "no step"


def test_zero_gradients_behind_zero_weights_are_somebody_elses_finding() -> None:
    assert weights_at_rest(moved(0.0, weight_gradient_rms=0.0, delta_rms=[[0.0, 1.0]] * STEPS, input_rms=0.0)) == ()


def test_one_resting_step_of_many_is_no_finding() -> None:
    assert weights_at_rest(moved(0.0, update_rms=[[0.0, 0.0]] * (STEPS - 1) + [[0.0, 1e-3]])) == ()


def test_without_an_optimiser_nothing_can_be_said() -> None:
    with pytest.raises(NotRecorded):
        weights_at_rest(make_run(delta_rms=[[1.0, 1.0]] * STEPS))
