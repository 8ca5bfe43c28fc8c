"""Compiled models, and those that isometry trains itself."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isometry
from isometry.adapters.torch.roots import compiler_of, uncompiled
from isometry.network.edits import InsertNorm

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(64) % 3


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 3))


def wrapped():
    return torch.compile(net(), backend="eager")


def in_place():
    model = net()
    model.compile(backend="eager")
    return model


def in_parts():
    model = net()
    model[2] = torch.compile(model[2], backend="eager")
    model[0].compile(backend="eager")
    return model


COMPILED = [wrapped, in_place, in_parts]


def experiment(build):
    return isometry.Experiment(
        build=build,
        data=(INPUTS, TARGETS),
        loss_fn=F.cross_entropy,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        epochs=2,
    )


@pytest.mark.parametrize("build", COMPILED)
def test_nothing_of_a_model_is_compiled_any_more_and_its_weights_are_the_same(build):
    torch.manual_seed(0)
    compiled = build()
    weights = list(compiled.parameters())
    assert any(compiler_of(part) for part in compiled.modules())
    model = uncompiled(compiled)
    assert not any(compiler_of(part) for part in model.modules())
    assert all(one is other for one, other in zip(model.parameters(), weights, strict=True))
    torch.manual_seed(0)
    expected = net()
    assert list(model.state_dict()) == list(expected.state_dict())
    assert torch.equal(model(INPUTS), expected(INPUTS))


def test_a_part_that_stands_in_two_places_is_the_same_in_both():
    part = torch.compile(nn.Linear(4, 4), backend="eager")
    model = uncompiled(nn.Sequential(part, nn.Tanh(), part))
    assert type(model[0]) is nn.Linear
    assert model[0] is model[2]


@pytest.mark.parametrize("build", COMPILED)
def test_an_experiment_that_compiles_its_model_is_seen_and_changed_as_any_other(build, tmp_path):
    trainer, plain = (isometry.adapters.torch.trainer(experiment(one)) for one in (build, net))
    for number, edits in enumerate([(), (InsertNorm(("0", "2.0"), "layer"),)]):
        found = trainer.train(edits, seed=0, run=tmp_path / f"{number}")
        expected = plain.train(edits, seed=0, run=tmp_path / f"{number}-plain")
        assert found.fault == ""
        assert found.losses == pytest.approx(expected.losses, rel=1e-6)
        assert isometry.load(found.run).architecture == isometry.load(expected.run).architecture


@pytest.mark.parametrize("build", COMPILED)
def test_a_check_of_an_experiment_sees_the_layers_of_a_compiled_model(build):
    found, expected = (isometry.check(experiment(one), nets=3) for one in (build, net))
    assert str(found) == str(expected)
    assert "2.0" in str(found)


def test_torchscript_is_refused_in_one_sentence():
    def scripted():
        return torch.jit.script(net())

    with (
        pytest.warns(DeprecationWarning, match="torch.jit"),
        pytest.raises(isometry.UnsupportedModel, match=r"as it was before torch\.jit"),
    ):
        isometry.adapters.torch.trainer(experiment(scripted)).train((), seed=0, run=None)


def test_a_compiled_call_that_was_made_while_compilation_was_off_is_none(monkeypatch):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    model = in_place()
    assert compiler_of(model) is None
    assert compiler_of(copy.deepcopy(model)) is None
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "0")
    assert compiler_of(in_place()) == "compiled"


@pytest.mark.parametrize("build", COMPILED)
def test_a_plan_is_to_be_applied_before_the_model_is_compiled(build):
    with pytest.raises(isometry.CannotEdit, match="before it is compiled"):
        isometry.apply([InsertNorm(("0",), "layer")], build(), batch=INPUTS)
