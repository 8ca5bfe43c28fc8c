"""N101 names the producer and the step, and leaves a loss scaler alone."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.non_finite import non_finite
from tests.runs import make_run

LAYERS, STEPS = 4, 6
NONE = np.zeros((STEPS, LAYERS))


def counted(row: int, *layers: int, onwards: bool = True) -> np.ndarray:
    counts = NONE.copy()
    counts[row : None if onwards else row + 1, list(layers)] = 3
    return counts


def test_finite_run_is_no_finding() -> None:
    run = make_run(pre_activation_nan=NONE, delta_inf=NONE, weight_nan=NONE, scalars={"loss": np.ones(STEPS)})
    assert non_finite(run) == ()


def test_producer_is_told_from_those_that_pass_it_on() -> None:
    run = make_run(
        pre_activation_nan=counted(3, 1, 2, 3), pre_activation_abs_max=1.0, weight_nan=counted(4, 0, 1, 2, 3)
    )
    (finding,) = non_finite(run)
    assert finding.layers == ("fc2",)
    assert finding.first_step == 3
    assert finding.severity == Severity.STOPS
    assert "forward" in finding.summary
    assert "2 other layers" in finding.summary


def test_backward_producer_is_the_one_nearest_to_the_loss() -> None:
    run = make_run(delta_inf=counted(2, 0, 1, 2), delta_abs_max=1.0, pre_activation_nan=NONE, weight_nan=counted(3, 0))
    (finding,) = non_finite(run)
    assert finding.layers == ("fc3",)
    assert "backward" in finding.summary


def test_nan_in_the_data_is_blamed_on_the_data() -> None:
    run = make_run(input_nan=counted(1, 0), pre_activation_nan=counted(1, 0, 1, 2, 3), weight_nan=counted(2, 0))
    (finding,) = non_finite(run)
    assert finding.causes[0].name == "data"


@pytest.mark.parametrize(("largest", "name"), [((1.0, 1e12, 1e37), "overflow"), ((1.0, 1.2, 0.9), "invalid operation")])
def test_overflow_is_told_from_an_invalid_operation(largest: tuple[float, ...], name: str) -> None:
    sizes = np.full((STEPS, LAYERS), np.nan)
    sizes[:3] = np.array(largest)[:, None]
    run = make_run(pre_activation_inf=counted(3, 1, 2, 3), pre_activation_abs_max=sizes)
    assert next(iter(non_finite(run))).causes[0].name == name


def test_gradients_that_recover_are_only_noted() -> None:
    run = make_run(
        weight_gradient_inf=counted(0, 0, 1, 2, 3, onwards=False), weight_nan=NONE, scalars={"loss": np.ones(STEPS)}
    )
    (finding,) = non_finite(run)
    assert finding.severity == Severity.NOTE


def test_loss_alone_is_enough() -> None:
    run = make_run(pre_activation_nan=NONE, scalars={"loss": [1.0, 0.9, np.nan, np.nan, np.nan, np.nan]})
    (finding,) = non_finite(run)
    assert finding.first_step == 2
    assert finding.severity == Severity.STOPS
    assert finding.causes[0].name == "loss function"


def test_event_between_recorded_steps_comes_first() -> None:
    event = {"step": 7, "direction": "forward", "layer": "fc2", "signal": "pre_activation", "producer": True}
    run = make_run(
        steps=[0, 5, 10], pre_activation_nan=[[0, 0, 0], [0, 0, 0], [0, 2, 2]], events={"non_finite": [event]}
    )
    (finding,) = non_finite(run)
    assert finding.first_step == 7
    assert finding.layers == ("fc2",)


LOST = {"operation": "log", "fault": "logarithm of zero (3 of 64 values)", "after": "fc4", "place": "loss"}


def told(step: int, direction: str, **fields: object) -> dict[str, object]:
    return {"step": step, "direction": direction, "layer": "fc4", "producer": True, **fields}


def test_operation_of_the_loss_is_named() -> None:
    run = make_run(pre_activation_nan=NONE, events={"non_finite": [told(2, "loss", **LOST)]})
    (finding,) = non_finite(run)
    assert finding.summary.endswith("its own computation made it so: logarithm of zero (3 of 64 values)")
    assert finding.causes[0].name == "loss function"
    assert "at log between fc4 and the loss" in finding.causes[0].words


@pytest.mark.parametrize("growing", ["outputs", "loss"])
def test_values_that_had_grown_before_are_the_cause_of_a_lost_loss(growing: str) -> None:
    sizes = np.full((STEPS, LAYERS), 1.0)
    loss = np.ones(STEPS)
    (sizes if growing == "outputs" else loss)[1] = 1e20
    loss[2:] = np.nan
    run = make_run(
        pre_activation_abs_max=sizes, scalars={"loss": loss}, events={"non_finite": [told(2, "loss", **LOST)]}
    )
    (finding,) = non_finite(run)
    assert finding.causes[0].name == "overflow"
    assert "grown" in finding.summary
    assert "1.0e+20" in finding.causes[0].words


def test_operation_of_the_loss_does_not_explain_a_layer_that_failed_before_it() -> None:
    run = make_run(
        pre_activation_inf=counted(2, 3),
        pre_activation_abs_max=1.0,
        events={"non_finite": [told(2, "forward", signal="pre_activation", **LOST)]},
    )
    (finding,) = non_finite(run)
    assert "logarithm" not in finding.summary + finding.causes[0].words


def test_operation_that_was_taken_for_the_layers_nonlinearity_explains_its_activation() -> None:
    overflow = LOST | {"operation": "exp", "fault": "exponential that overflows"}
    event = told(2, "forward", signal="activation", **overflow)
    (finding,) = non_finite(make_run(activation_inf=counted(2, 3), events={"non_finite": [event]}))
    assert "made by exp between fc4 and the loss" in finding.summary
    assert finding.causes[0].words.startswith("Exponential that overflows")


def test_operation_inside_the_network_is_no_lost_data() -> None:
    inside = LOST | {"after": "fc3", "place": "network"}
    run = make_run(input_nan=counted(2, 3), events={"non_finite": [told(2, "forward", signal="input", **inside)]})
    (finding,) = non_finite(run)
    assert finding.summary.startswith("The first value that is not finite was made by log after fc3")
    assert finding.causes[0].name == "invalid operation"


def test_without_events_the_layer_nearest_to_the_loss_is_the_backward_producer() -> None:
    run = make_run(
        activation_gradient_nan=counted(2, 0, 1, 2), delta_nan=counted(2, 0, 1, 2, 3), weight_nan=counted(3, 0)
    )
    (finding,) = non_finite(run)
    assert finding.layers == ("fc4",)
    assert finding.summary.startswith("The backward signal δ of fc4 is the first")


def test_operations_that_may_have_lost_the_gradient_are_named() -> None:
    event = told(3, "weight", signal="weight", producer=False, risky=["sqrt", 7])
    (finding,) = non_finite(make_run(weight_abs_max=1.0, events={"non_finite": [event]}))
    assert finding.causes[0].name == "backward formula"
    assert "sqrt can send back" in finding.causes[0].words


def test_an_update_lost_behind_a_finite_gradient_is_the_optimisers() -> None:
    (finding,) = non_finite(make_run(weight_gradient_nan=NONE, update_nan=counted(2, 0)))
    assert finding.causes[0].name == "optimiser"
    assert "backward" not in finding.summary


@pytest.mark.parametrize(("steps", "sure"), [([0, 1, 2], True), ([0, 1, 9], False)])
def test_an_overflow_is_denied_only_where_the_step_before_was_seen(steps: list[int], sure: bool) -> None:
    run = make_run(steps=steps, pre_activation_nan=[[0], [0], [1]], pre_activation_abs_max=[[1.0], [1.0], [np.nan]])
    (finding,) = non_finite(run)
    assert ("no overflow" in finding.causes[0].words) is sure
