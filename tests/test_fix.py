"""The verbs ``prescribe`` and ``fix``, as a user calls them, and how an outcome is told."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jsonschema import validate
from torch import nn

import isometry
from isometry.report.json import schema, to_json


def spirals():
    """Two arms, 256 points."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.rand(256, generator=generator) * 3 + 0.3
    side = torch.arange(256) % 2
    angle = turn * 2 + side * torch.pi
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1)
    return points / points.std(), side


POINTS, SIDES = spirals()


def share_right(model):
    with torch.no_grad():
        return float((model(POINTS).argmax(-1) == SIDES).float().mean())


def deep(activation, *, depth=9, width=24):
    def build():
        layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
        return nn.Sequential(nn.Linear(2, width), activation(), *layers, nn.Linear(width, 2))

    return build


def experiment(activation=nn.Sigmoid, **changes):
    made = isometry.Experiment(
        build=deep(activation),
        data=(POINTS, SIDES),
        loss_fn=F.cross_entropy,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
        epochs=25,
        batch_size=32,
        metric=share_right,
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def cured(tmp_path_factory):
    return isometry.fix(experiment(), seeds=3, engine="serial", folder=tmp_path_factory.mktemp("fix") / "study")


def test_a_deep_sigmoid_network_is_cured_and_the_cure_is_proved(cured):
    assert cured.verdict == "helped"
    assert cured.before.findings[0].problem == "vanishing_gradient"
    assert cured.trials[0].prescription is None
    best = next(arm for arm in cured.trials if arm.prescription == cured.prescription)
    assert len(cured.trials[0].courses) == len(best.courses) == 3
    assert cured.contrast.low > 0
    assert cured.patch == cured.prescription.patch != ""


def test_the_treated_experiment_trains_as_the_treated_arm_did(cured):
    from isometry.adapters.torch.train import train

    best = next(arm for arm in cured.trials if arm.prescription == cured.prescription)
    again = train(cured.experiment, seed=0)
    assert again.metric == best.courses[0].score
    assert np.allclose(again.losses, best.courses[0].losses)


def test_every_arm_is_a_run_that_opens(cured):
    for arm in cured.trials:
        for course in arm.courses:
            assert len(isometry.load(course.run).history.steps) > 0


def test_the_outcome_is_told_and_written(cured, tmp_path):
    told = str(cured)
    for words in (
        "HELPED",
        "before    vanishing gradient",
        "What was tried",
        "untreated",
        "The change, to make by hand",
    ):
        assert words in told
    validate(json.loads(to_json(cured)), schema("isometry/outcome/1"))
    page = isometry.report(cured, tmp_path / "fix.html").read_text(encoding="utf-8")
    assert "�" not in page
    assert "Before and after" in page
    assert isometry.report(cured, tmp_path / "fix.md").read_text(encoding="utf-8").startswith("# ")
    assert isometry.report(cured, tmp_path / "fix.png").read_bytes().startswith(b"\x89PNG")


def test_prescriptions_are_told_with_what_is_expected(cured):
    plans = isometry.prescribe(cured.before)
    assert plans[0].expected is not None
    assert abs(plans[0].expected) < 1
    assert all(plan.words and plan.patch for plan in plans)
    assert "predicted" in str(plans[0])


def test_effects_bound_what_may_be_tried(cured):
    assert {plan.effect for plan in isometry.prescribe(cured.before, effects=["retunes"])} <= {"retunes"}
    with pytest.raises(isometry.IsometryError, match="retunes, reinitialises, restructures"):
        isometry.prescribe(cured.before, effects=["everything"])


def test_a_healthy_training_is_left_alone(tmp_path):
    outcome = isometry.fix(experiment(nn.Tanh, build=deep(nn.Tanh, depth=2)), seeds=2, engine="serial", folder=tmp_path)
    assert outcome.verdict == "nothing to fix"
    assert outcome.prescription is None
    assert len(outcome.trials) == 1
    assert "NOTHING TO FIX" in str(outcome)
    validate(json.loads(to_json(outcome)), schema("isometry/outcome/1"))


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"seeds": 0}, "seeds=0"),
        ({"most": 0}, "most=0"),
        ({"engine": "cluster"}, "engine='cluster': one of local, serial, ray"),
        ({"ray_address": "127.0.0.1:6379"}, "is for engine='ray'"),
        ({"effects": []}, "a list of some of"),
        ({"effects": "retunes"}, "a list of some of"),
    ],
)
def test_misuse_is_refused_before_anything_is_trained(tmp_path, options, needed):
    with pytest.raises(isometry.IsometryError, match=needed):
        isometry.fix(experiment(), folder=tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()


def test_a_model_is_no_experiment():
    with pytest.raises(isometry.IsometryError, match=r"a training script is needed, or an isometry\.Experiment"):
        isometry.fix(nn.Linear(2, 2))
