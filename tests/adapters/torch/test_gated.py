"""Norms and skips that keep what a network computes, at the moment they come."""

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry
from isometry.adapters.torch.applying import KEEPING
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.gated import GATED, Gated, GatedSkip
from isometry.adapters.torch.inserted import norm_over_units
from isometry.network.edits import (
    AddSkip,
    Edit,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleOutput,
    ScaleRate,
    ScaleWeights,
    SetForgetBias,
    SetPrecision,
    Standardise,
    Unfreeze,
)
from tests.adapters.torch.nets import HandMadeRnn, ResNet, Transformer, mlp
from tests.adapters.torch.test_real_models import small_bert, small_gpt2

CHANGING = (Reinitialise, ReplaceActivation, ScaleWeights, SetForgetBias, ScaleOutput, SetPrecision, Standardise)


class Waves(nn.Module):
    """Convolutions over time, φ called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 16, 3, padding=1), nn.Conv1d(16, 16, 3, padding=1)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.first(x))
        return self.head(self.drop(torch.tanh_(self.second(h))).mean(-1))


class Sequences(nn.Module):
    """An LSTM with a head of two layers at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 12, batch_first=True)
        self.hidden, self.act, self.out = nn.Linear(12, 12), nn.SiLU(), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.hidden(self.lstm(x)[0])))


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    batch: Any
    plan: tuple[Edit, ...]


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


TOKENS = {"input_ids": torch.randint(0, 60, (3, 12), generator=torch.Generator().manual_seed(0))}
BERT = tuple(f"bert.encoder.layer.{block}.intermediate.dense" for block in (0, 1))
GPT = tuple(f"transformer.h.{block}.mlp.c_fc" for block in (0, 1))
BLOCKS = ("layer1.conv1", "layer2.conv1")

CASES = {
    "mlp": Case(mlp, numbers(8, 24), (AddSkip(("0", "3", "6")), InsertNorm(("0", "9"), "batch"))),
    "mlp, in the place of φ": Case(
        mlp, numbers(8, 24), (InsertNorm(("3",), "layer"), InsertNorm(("3", "6"), "rms", after=True))
    ),
    "resnet": Case(ResNet, numbers(6, 1, 8, 8), (InsertNorm(BLOCKS, "layer"), InsertNorm(BLOCKS, "batch", after=True))),
    "resnet, skip": Case(ResNet, numbers(6, 1, 8, 8), (AddSkip(BLOCKS[:1]), InsertNorm(BLOCKS, "group"))),
    "convolutions in time": Case(
        Waves, numbers(6, 2, 9), (AddSkip(("second",)), InsertNorm(("first", "second"), "batch"))
    ),
    "lstm and head": Case(Sequences, numbers(6, 7, 5), (AddSkip(("hidden",)), InsertNorm(("hidden",), "batch"))),
    "rnn by hand": Case(HandMadeRnn, numbers(6, 5, 4), (AddSkip(("h2h",)), InsertNorm(("h2h",), "layer"))),
    "bert": Case(small_bert, TOKENS, (InsertNorm(BERT, "layer"), InsertNorm(BERT, "rms", after=True))),
    "bert, batch norm": Case(small_bert, TOKENS, (InsertNorm(BERT, "batch"),)),
    "gpt": Case(small_gpt2, TOKENS, (InsertNorm(GPT, "rms"),)),
    "encoder": Case(
        Transformer,
        torch.arange(36).reshape(3, 12) % 20,
        (InsertNorm(tuple(f"encoder.layers.{block}.linear1" for block in (0, 1)), "layer"),),
    ),
}


def seen(model: nn.Module, batch: Any, precision: torch.dtype | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """What comes out, and the gradient of the sum of its squares, with the same dropout every time."""
    torch.manual_seed(1)
    model.zero_grad()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.autocast("cpu", precision, enabled=precision is not None):
        out = model(**batch).logits if isinstance(batch, dict) else model(batch)
    out.float().square().sum().backward()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return out.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def require_same(before: tuple[Tensor, dict[str, Tensor]], after: tuple[Tensor, dict[str, Tensor]]) -> None:
    assert before[0].dtype == after[0].dtype
    assert torch.equal(before[0], after[0])
    assert before[1].keys() <= after[1].keys()
    for name, gradient in before[1].items():
        assert torch.equal(gradient, after[1][name]), name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_the_gradients_of_old_parameters_stay_to_the_last_bit(name, training):
    case = CASES[name]
    model = case.build().train(training)
    before, own = seen(model, case.batch), dict(model.named_parameters())
    applied = isometry.apply(case.plan, model, batch=case.batch, keep=True)
    assert applied.left_out == ()
    after = seen(model, case.batch)
    require_same(before, after)
    assert set(after[1]) - set(before[1]) == set(applied.parameters)
    for new in applied.parameters:
        gate = new.endswith(".alpha")
        in_fresh_statistics = not training and "batch" in repr(case.plan)  # there a batch norm does next to nothing
        assert gate or not after[1][new].any(), "N has no say as long as α is 0"
        assert not gate or in_fresh_statistics or after[1][new].any(), f"{new} does not learn"
    applied.undo()
    assert dict(model.named_parameters()).keys() == own.keys()
    require_same(before, seen(model, case.batch))


@pytest.mark.parametrize("name", ["mlp", "mlp, in the place of φ", "resnet, skip", "lstm and head", "bert"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "autocast"])
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # torch's, of every RMSNorm in autocast
def test_half_precision_stays_what_it_is(name, precision):
    case, cast = CASES[name], precision == "autocast"
    model, batch = case.build(), case.batch
    if not cast:
        model = model.to(getattr(torch, precision))
        batch = batch if isinstance(batch, dict) else batch.to(getattr(torch, precision))
    before = seen(model, batch, torch.bfloat16 if cast else None)
    applied = isometry.apply(case.plan, model, batch=batch, keep=True)
    dtypes = {model.get_parameter(new).dtype for new in applied.parameters}
    assert dtypes == {torch.float32 if cast else getattr(torch, precision)}
    require_same(before, seen(model, batch, torch.bfloat16 if cast else None))


@pytest.mark.parametrize("name", ["mlp", "mlp, in the place of φ", "resnet, skip", "rnn by hand"])
def test_copies_pickles_and_loaded_weights_train_alike(name):
    case = CASES[name]
    model = case.build()
    fresh = copy.deepcopy(model)
    isometry.apply(case.plan, model, batch=case.batch, keep=True)
    isometry.apply(case.plan, fresh, batch=case.batch, keep=True)
    trained(model, case.batch)
    assert all(bool(model.get_parameter(gate)) for gate in gates_of(model))
    fresh.load_state_dict(model.state_dict())
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    copies = [fresh, copy.deepcopy(model), torch.load(saved, weights_only=False)]
    expected = trained(model, case.batch)
    for one in copies:
        assert torch.equal(trained(one, case.batch), expected)


def gates_of(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters() if name.endswith(".alpha")]


def trained(model: nn.Module, batch: Any, steps: int = 3) -> Tensor:
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
    return model.eval()(batch).detach()


def test_the_gradient_of_a_skips_α_is_that_of_h_along_x():
    x, h = numbers(5, 7), torch.zeros(5, 7, requires_grad=True)
    skip = GatedSkip()
    (skip(h, x) ** 2 + 3 * skip(h, x)).sum().backward()
    torch.testing.assert_close(skip.alpha.grad, (h.grad * x).sum().reshape(1))
    assert skip.alpha.grad.abs() > 1


@pytest.mark.parametrize(
    ("norm", "shape", "unit"),
    [
        ("layer", (4, 16), -1),
        ("layer", (4, 16, 3), 1),
        ("rms", (4, 16), -1),
        ("group", (4, 16, 3, 3), 1),
        ("batch", (4, 16), 1),
        ("batch", (4, 16, 3), 1),
        ("batch", (4, 16, 3, 3), 1),
        ("batch", (4, 16, 3, 3, 3), 1),
        ("batch", (4, 5, 16), -1),
    ],
)
def test_every_norm_goes_from_nothing_to_all_of_itself(norm, shape, unit):
    z = numbers(*shape)
    gated, plain = (norm_over_units(norm, torch.Size(shape), unit, gated=gated) for gated in (True, False))
    assert isinstance(gated, Gated)
    assert torch.equal(gated(z), z)
    with torch.no_grad():
        gated.alpha.fill_(1.0)
    torch.testing.assert_close(gated(z), plain(z))
    with torch.no_grad():
        gated.alpha.fill_(0.25)
    torch.testing.assert_close(gated(z), z + 0.25 * (plain(z) - z))
    assert repr(plain)[:-1].partition("(")[2] in repr(gated)
    assert "z + alpha * (norm(z) - z)" in repr(gated)


def test_each_class_is_the_norm_that_it_gates():
    assert all(issubclass(gated, norm) and gated.__name__ == f"Gated{norm.__name__}" for norm, gated in GATED.items())


def test_a_gated_norm_is_seen_as_a_norm_and_a_gated_skip_as_a_sum():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    plan = [InsertNorm(("0", "2"), "layer"), AddSkip(("2",))]
    isometry.apply(plan, model, batch=numbers(4, 8), keep=True)
    found = describe(model, numbers(4, 8))
    assert [(layer.kind, layer.calls) for layer in found.layers if layer.kind in ("norm", "sum")] == [
        ("norm", 1),
        ("norm", 1),
        ("sum", 1),
    ]
    assert found["0"].norm == "1.norm"
    assert found["1.norm"].activation == "tanh"


# ------------------------------------------------------------------- one after another


@pytest.mark.parametrize("name", ["mlp", "mlp, in the place of φ", "resnet, skip", "rnn by hand"])
def test_what_has_been_learned_stays_when_more_comes(name):
    case = CASES[name]
    model = case.build()
    for edit in case.plan:
        isometry.apply([edit], model, batch=case.batch, keep=True)
        trained(model, case.batch, 2)
    model.eval()
    before, values = seen(model, case.batch), {gate: model.get_parameter(gate).item() for gate in gates_of(model)}
    assert all(values.values())
    again = isometry.apply(case.plan, model, batch=case.batch, keep=True)
    assert again.parameters == ()
    assert {gate: model.get_parameter(gate).item() for gate in gates_of(model)} == values
    require_same(before, seen(model, case.batch))


def test_without_keep_a_gate_makes_room_for_the_whole():
    case = CASES["mlp"]
    kept, model = mlp(), mlp()
    kept.load_state_dict(model.state_dict())
    isometry.apply(case.plan, kept, batch=case.batch, keep=True)
    isometry.apply(case.plan[::-1], kept, batch=case.batch)
    isometry.apply(case.plan, model, batch=case.batch)
    assert gates_of(kept) == []
    assert torch.equal(kept.eval()(case.batch), model.eval()(case.batch))


def test_with_keep_a_norm_or_skip_that_is_there_stays_whole():
    case = CASES["mlp"]
    model = mlp()
    isometry.apply(case.plan, model, batch=case.batch)
    before = seen(model, case.batch)
    assert isometry.apply(case.plan[::-1], model, batch=case.batch, keep=True).parameters == ()
    require_same(before, seen(model, case.batch))


@pytest.mark.parametrize("name", ["mlp", "rnn by hand"])
def test_another_norm_in_the_place_of_one_that_is_there_is_refused(name):
    layer = {"mlp": "3", "rnn by hand": "h2h"}[name]
    model, batch = CASES[name].build(), CASES[name].batch
    isometry.apply([InsertNorm((layer,), "rms")], model, batch=batch)
    before = seen(model, batch)
    with pytest.raises(isometry.CannotEdit, match="a LayerNorm would take the place of the RMSNorm"):
        isometry.apply([InsertNorm((layer,), "layer")], model, batch=batch, keep=True)
    require_same(before, seen(model, batch))


# ------------------------------------------------------------------------- what cannot


def test_every_edit_either_keeps_the_function_or_is_refused():
    assert set(get_args(Edit)) == {*KEEPING, *CHANGING}


@pytest.mark.parametrize(
    "plan",
    [
        [ReplaceActivation(("0",), "relu")],
        [InsertNorm(("0",), "layer"), ScaleWeights(("0",), 2.0), Standardise()],
        [Reinitialise(("0",), 1.0), ScaleRate(0.1)],
    ],
)
def test_what_cannot_keep_the_function_is_refused_by_name(plan):
    model, batch = mlp(), numbers(8, 24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = seen(model, batch)
    unable = [type(edit).__name__ for edit in plan if isinstance(edit, CHANGING)]
    with pytest.raises(isometry.CannotEdit, match=f"keep=True: {' and '.join(unable)} cannot.* without keep"):
        isometry.apply(plan, model, optimizer, batch=batch, keep=True)
    require_same(before, seen(model, batch))
    assert len(isometry.apply(plan, model, optimizer, batch=batch).parameters) == 2 * ("InsertNorm" in repr(plan))


def test_optimiser_and_frozen_layers_are_changed_as_ever():
    model, batch = mlp(), numbers(8, 24)
    model[3].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = seen(model, batch)
    plan = [Unfreeze(("3",)), ScaleRate(0.5), InsertNorm(("3",), "layer")]
    dry = isometry.apply(plan, model, optimizer, batch=batch, dry_run=True, keep=True)
    assert "3.weight" not in seen(model, batch)[1]
    applied = isometry.apply(plan, model, optimizer, batch=batch, keep=True)
    assert dry.parameters == applied.parameters == ("4.norm.weight", "4.norm.bias", "4.norm.alpha")
    assert optimizer.param_groups[0]["lr"] == 0.05
    held = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    assert all(id(model.get_parameter(new)) in held for new in applied.parameters)
    assert model[3].weight.requires_grad
    require_same(before, seen(model, batch))
