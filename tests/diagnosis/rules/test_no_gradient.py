"""G301 tells frozen, unused and cut off by mistake apart."""

from collections.abc import Sequence

import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.no_gradient import no_gradient
from isometry.history.run import Run
from isometry.network.architecture import Layer
from tests.diagnosis.rules.curves import CROSS_ENTROPY, falling, trained
from tests.runs import make_run

HELD = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


def run_with(reason: str, *layers: str, held: Sequence[str] = HELD) -> Run:
    entries = [
        {"name": f"{layer}.{kind}", "layer": layer, "reason": reason} for layer in layers for kind in ("weight", "bias")
    ]
    return make_run(
        names=["fc1", "fc2"],
        delta_rms=1.0,
        events={
            "optimizer": [{"step": 0, "name": "SGD", "lr": 0.1, "parameters": list(held)}],
            "no_gradient": [{"step": 2, "parameters": entries}],
        },
    )


def test_run_without_events_is_no_finding() -> None:
    assert no_gradient(make_run(delta_rms=[1.0, 1.0])) == ()


def test_frozen_is_no_finding() -> None:
    assert no_gradient(run_with("frozen", "fc1")) == ()


@pytest.mark.parametrize("reason", ["output unused", "never ran", "not in any optimizer"])
def test_unused_is_noted(reason: str) -> None:
    (finding,) = no_gradient(run_with(reason, "fc2"))
    assert finding.severity == Severity.NOTE
    assert finding.layers == ("fc2",)


@pytest.mark.parametrize("reason", ["detached", "ran without gradient"])
def test_cut_off_by_mistake_harms(reason: str) -> None:
    (finding,) = no_gradient(run_with(reason, "fc1"))
    assert finding.severity == Severity.HARMS
    assert finding.layers == ("fc1",)
    assert "fc1.weight" in finding.summary


def test_everything_cut_off_stops() -> None:
    (finding,) = no_gradient(run_with("detached", "fc1", "fc2"))
    assert finding.severity == Severity.STOPS


@pytest.mark.parametrize("reason", ["detached", "ran without gradient"])
def test_target_network_outside_the_optimizer_is_only_noted(reason: str) -> None:
    (finding,) = no_gradient(run_with(reason, "fc1", held=["fc2.weight", "fc2.bias"]))
    assert finding.severity == Severity.NOTE


def test_part_that_joined_later_is_no_finding() -> None:
    cut = {"step": 2, "parameters": [{"name": "fc1.weight", "layer": "fc1", "reason": "detached"}]}
    run = make_run(delta_rms=[1.0, 1.0], events={"no_gradient": [cut, {"step": 90, "parameters": []}]})
    assert no_gradient(run) == ()


@pytest.mark.parametrize("reason", ["not in any optimizer", "output unused"])
def test_nothing_left_to_learn_stops(reason: str) -> None:
    (finding,) = no_gradient(run_with(reason, "fc1", "fc2", held=["other.weight"]))
    assert finding.severity == Severity.STOPS


def test_gradient_of_exactly_zero_harms() -> None:
    (finding,) = no_gradient(make_run(weight_gradient_rms=[[0.0, 1.0]] * 8))
    assert finding.severity == Severity.HARMS
    assert finding.layers == ("fc1",)


def test_zero_at_the_start_alone_is_no_finding() -> None:
    assert no_gradient(make_run(weight_gradient_rms=[[0.0, 1.0]] * 4 + [[0.1, 1.0]] * 8)) == ()


def test_zero_behind_dead_units_is_somebody_elses_finding() -> None:
    nothing = float("nan")
    run = make_run(
        weight_gradient_rms=[[0.0, 1.0]] * 8, activation_dead=[5.0, nothing], activation_units=[5.0, nothing]
    )
    assert no_gradient(run) == ()


def test_optimiser_of_another_model_is_one_finding() -> None:
    run = run_with("optimizer holds another", "fc1", "fc2", held=["other.weight"])
    (finding,) = no_gradient(run)
    assert finding.severity == Severity.STOPS
    assert "in no optimiser" in finding.summary


def test_replaced_part_harms() -> None:
    (finding,) = no_gradient(run_with("optimizer holds another", "fc2", held=["fc1.weight"]))
    assert finding.severity == Severity.HARMS


def trained_with(reason: str, *, end: float, **columns: object) -> Run:
    loss = falling(end, steps=200)
    entries = [{"name": f"fc1.{kind}", "layer": "fc1", "reason": reason} for kind in ("weight", "bias")]
    return trained(
        loss,
        1e-3,
        events={
            "optimizer": [
                {"step": 0, "name": "SGD", "lr": 0.1, "parameters": ["fc1.weight", "fc1.bias", "fc2.weight"]}
            ],
            "no_gradient": [{"step": 2, "parameters": entries}],
        },
        **columns,
    )


@pytest.mark.parametrize("reason", ["detached", "ran without gradient", "not in any optimizer", "output unused"])
def test_part_left_out_of_a_training_that_gets_on_is_noted(reason: str) -> None:
    (finding,) = no_gradient(trained_with(reason, end=0.1))
    assert finding.severity == Severity.NOTE


@pytest.mark.parametrize(
    "reason", ["detached", "ran without gradient", "not in any optimizer", "output unused", "frozen"]
)
def test_part_left_out_of_a_training_that_is_stuck_harms(reason: str) -> None:
    (finding,) = no_gradient(trained_with(reason, end=2.0))
    assert finding.severity == Severity.HARMS


def test_frozen_part_of_a_training_that_gets_on_is_no_finding() -> None:
    assert no_gradient(trained_with("frozen", end=0.1)) == ()


def test_fresh_weights_that_are_cut_off_are_told_although_the_loss_falls() -> None:
    (finding,) = no_gradient(trained_with("detached", end=0.1, weight_abs_max=0.1 * 1.74))
    assert finding.severity == Severity.SLOWS


def test_moving_average_held_by_the_optimiser_is_no_finding() -> None:
    run = run_with("ran without gradient", "fc1")
    weight = [[0.1 + 0.001 * step, 0.1] for step in range(8)]
    moving = make_run(names=["fc1", "fc2"], weight_rms=weight, update_rms=[[0.0, 0.1]] * 8)
    events = {kind: run.history.events(kind) for kind in ("optimizer", "no_gradient")}
    assert (
        no_gradient(make_run(names=["fc1", "fc2"], weight_rms=weight, update_rms=[[0.0, 0.1]] * 8, events=events)) == ()
    )
    assert no_gradient(moving) == ()


def test_branch_times_zero_in_a_training_that_gets_on_is_noted() -> None:
    layers = [
        Layer("stem", "linear", "Linear", parameters=("stem.weight",)),
        Layer("inside", "linear", "Linear", parameters=("inside.weight",), branch="add"),
        Layer("head", "linear", "Linear", parameters=("head.weight",)),
    ]
    loss = falling(0.1, steps=200)
    run = make_run(
        layers=layers,
        weight_gradient_rms=[[1.0, 0.0, 1.0]] * 8,
        scalars={"loss": loss},
        events={"loss_kind": [CROSS_ENTROPY]},
    )
    (finding,) = no_gradient(run)
    assert finding.severity == Severity.NOTE
