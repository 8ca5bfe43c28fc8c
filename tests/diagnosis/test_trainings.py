"""Networks that are trained one after another are judged one by one; those that are trained together are not parted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import isometry
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.diagnosis.level import has_rivals
from isometry.diagnosis.trainings import trainings
from isometry.history.run import Run
from isometry.network.architecture import Layer
from tests.runs import make_run

STEPS = 120
NETS = ("a", "b", "c")


def layer(net: str, place: int, inputs: str) -> Layer:
    name = f"{net}.{place}"
    return Layer(name, "linear", "Linear", (f"{name}.weight",), (8, 8), 8, 8, inputs=(inputs,), output=place == 2)


def in_turn(spans: Sequence[tuple[int, int]], losses: Sequence[float] = (), joined: bool = False) -> Run:
    """Networks of three layers, each trained from one step to before another, with a level loss."""
    total = max(stop for _, stop in spans)
    steps = np.arange(total)
    at_work = np.repeat([[first <= step < stop for first, stop in spans] for step in steps], 3, axis=1)
    layers = []
    for net in NETS[: len(spans)]:
        before = layers[-1].name if joined and layers else ""
        layers += [layer(net, 0, before), layer(net, 1, f"{net}.0"), layer(net, 2, f"{net}.1")]
    loss = np.full(total, 1.0)
    for (first, stop), level in zip(spans, losses, strict=False):
        loss[first:stop] = level * np.exp(0.01 * np.sin(steps[first:stop]))
    told = [
        {"step": first, "name": "SGD", "lr": 0.1, "parameters": [f"{net}.{k}.weight" for k in range(3)]}
        for net, (first, _) in zip(NETS, spans, strict=False)
    ]
    kinds = [{"step": first, "kind": "cross_entropy", "classes": 10} for first, _ in spans]
    return make_run(
        steps=steps,
        layers=layers,
        delta_count=np.where(at_work, 64, 0),
        delta_rms=np.where(at_work, 0.1, np.nan),
        update_applied=at_work,
        scalars={"loss": loss},
        events={"optimizer": told, "loss_kind": kinds, "end": [{"step": total, "steps": total}]},
    )


def test_networks_trained_in_turn_are_trainings_of_their_own() -> None:
    parts = trainings(in_turn([(0, STEPS), (STEPS, 3 * STEPS), (3 * STEPS, 4 * STEPS)]))
    assert [part.architecture.names for part in parts] == [tuple(f"{net}.{k}" for k in range(3)) for net in NETS]
    assert [part.history.begin for part in parts] == [0, STEPS, 3 * STEPS]
    assert [part.history.total_steps for part in parts] == [STEPS, 2 * STEPS, STEPS]
    assert [len(part.history.events("optimizer")) for part in parts] == [1, 1, 1]
    for part in parts:
        assert part.history["delta", "rms"].shape == (part.history.total_steps, 3)
        assert np.isfinite(part.history["delta", "rms"]).all()


@pytest.mark.parametrize(
    "run",
    [
        in_turn([(0, STEPS)]),
        in_turn([(0, STEPS), (0, STEPS)]),
        in_turn([(0, STEPS), (STEPS // 2, 2 * STEPS)]),
        in_turn([(0, STEPS), (STEPS, 2 * STEPS)], joined=True),
    ],
    ids=["one", "together", "overlapping", "one feeds the other"],
)
def test_networks_that_are_trained_together_stay_one_training(run: Run) -> None:
    assert trainings(run) == (run,)


def test_only_optimisers_that_step_at_one_time_are_rivals() -> None:
    assert not has_rivals(in_turn([(0, STEPS), (STEPS, 2 * STEPS)]))
    assert has_rivals(in_turn([(0, STEPS), (0, STEPS)]))
    assert has_rivals(in_turn([(0, STEPS), (STEPS // 2, 2 * STEPS)]))


def of(code: str, diagnosis: Diagnosis) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.code == code]


def test_a_training_that_learned_does_not_hide_one_that_did_not() -> None:
    run = in_turn([(0, STEPS), (STEPS, 2 * STEPS)], losses=[np.log(10), 0.05])
    (finding,) = of("L101", diagnose(run))
    assert finding.severity == Severity.HARMS
    assert "training 1 of 2, steps 0 … 119" in finding.summary
    run = in_turn([(0, STEPS), (STEPS, 2 * STEPS)], losses=[0.05, np.log(10)])
    assert "training 2 of 2, steps 120 … 239" in of("L101", diagnose(run))[0].summary


def test_what_all_trainings_have_is_told_once() -> None:
    run = in_turn([(0, STEPS), (STEPS, 2 * STEPS), (2 * STEPS, 3 * STEPS)], losses=[np.log(10)] * 3)
    (finding,) = of("L101", diagnose(run))
    assert "so in each of 3 trainings" in finding.summary
    run = in_turn([(0, STEPS), (STEPS, 2 * STEPS), (2 * STEPS, 3 * STEPS)], losses=[np.log(10), 0.05, np.log(10)])
    (finding,) = of("L101", diagnose(run))
    assert "so in 2 of 3 trainings" in finding.summary


def trained(model: nn.Module, data: tuple[Tensor, Tensor], steps: int, rate: float) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()


def chain(activation: type[nn.Module], depth: int) -> nn.Module:
    inside = [part for _ in range(depth) for part in (nn.Linear(12, 12), activation())]
    return nn.Sequential(*inside, nn.Linear(12, 3))


def watched(models: Sequence[nn.Module], folder: Path, steps: int = 60) -> Run:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 12, generator=random)
    targets = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()
    with isometry.watch({f"net{k}": model for k, model in enumerate(models)}, run=folder, every=3) as recording:
        for model in models:
            trained(model, (inputs, targets), steps, 3e-3)
    return recording.run


def test_the_cause_is_found_in_the_folds_of_a_cross_validation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    diagnosis = diagnose(watched([chain(nn.Sigmoid, 8) for _ in range(4)], tmp_path / "run"))
    (finding,) = of("G101", diagnosis)
    assert finding.severity >= Severity.HARMS
    assert "quarter slope of sigmoid" in finding.summary and "so in each of 4 trainings" in finding.summary
    assert {name.partition(".")[0] for name in finding.layers} == {f"net{k}" for k in range(4)}
    assert finding.first_step == 0


def test_healthy_folds_are_not_accused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = watched([chain(nn.ReLU, 2) for _ in range(4)], tmp_path / "run", steps=150)
    assert len(trainings(run)) == 4
    assert diagnose(run).healthy
    assert [event["kind"] for event in run.history.events("loss_kind")] == ["cross_entropy"] * 4


def test_a_network_that_learns_does_not_hide_one_that_does_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sick, well = chain(nn.Sigmoid, 8), chain(nn.ReLU, 2)
    alone = diagnose(watched([sick], tmp_path / "alone", steps=150))
    torch.manual_seed(0)
    for order, where in (([chain(nn.Sigmoid, 8), well], 1), ([chain(nn.ReLU, 2), chain(nn.Sigmoid, 8)], 2)):
        both = diagnose(watched(order, tmp_path / f"both{where}", steps=150))
        (finding,), (expected,) = of("G101", both), of("G101", alone)
        assert finding.severity == expected.severity >= Severity.HARMS
        assert f"training {where} of 2" in finding.summary
