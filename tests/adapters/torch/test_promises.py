"""Watching never changes training, never stops it, and leaves nothing behind."""

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import isometry
from isometry.adapters.torch import TorchWatch, measure, recording, trace
from isometry.adapters.torch.trace.tensor_origins import TensorOrigins
from isometry.history.recorder import Recorder
from tests.adapters.torch.nets import NETS, train

OPTIMIZERS = {
    "mlp": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "resnet": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=1e-3),
    "lstm": lambda p: torch.optim.Adam(p),
    "transformer": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "rnn": lambda p: torch.optim.RMSprop(p),
}


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Weights, buffers, gradients, optimiser state and the generator's state."""
    state = {f"model.{name}": value.clone() for name, value in model.state_dict().items()}
    state |= {f"grad.{name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    for index, entry in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{k}": v.clone() for k, v in entry.items() if isinstance(v, torch.Tensor)}
    state["generator"] = torch.get_rng_state()
    return state


def trained(name: str, steps: int, folder: Path | None, **options: object) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    net = NETS[name]
    model = net.build()
    optimizer = OPTIMIZERS[name](model.parameters())
    if folder is None:
        train(net, model, optimizer, steps)
    else:
        with isometry.watch(model, optimizer, run=folder, **options):  # type: ignore[arg-type]
            train(net, model, optimizer, steps)
        assert_no_hooks(model)
    return everything(model, optimizer)


def assert_no_hooks(model: nn.Module) -> None:
    for module in model.modules():
        for attribute in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            assert not getattr(module, attribute)
        assert not module._forward_hooks_always_called
        assert not module._forward_pre_hooks_with_kwargs
    everywhere = torch.nn.modules.module
    assert not everywhere._global_forward_hooks
    assert not everywhere._global_forward_pre_hooks
    optimizers = sys.modules["torch.optim.optimizer"]  # ``torch.optim.optimizer`` is deleted after import
    assert not optimizers._global_optimizer_pre_hooks
    assert not optimizers._global_optimizer_post_hooks
    assert torch.autograd.backward.__module__ == "torch.autograd"
    assert not hasattr(torch.autograd.backward, "__wrapped__")
    assert not hasattr(torch.amp.GradScaler.scale, "__wrapped__")
    assert not hasattr(torch.amp.GradScaler.step, "__wrapped__")


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, None])
@pytest.mark.parametrize("name", NETS)
def test_weights_are_bit_identical(name: str, every: int | None, tmp_path: Path) -> None:
    plain = trained(name, 200, None)
    watched = trained(name, 200, tmp_path / "run", every=every)
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[key], watched[key]) for key in plain)


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("a fault of ours")


FAULTS = {
    "measuring": (measure, "row"),
    "following": (trace.Tracer, "_prepare"),
    "following afterwards": (trace.Tracer, "_after"),
    "starting to follow": (trace.Tracer, "begin"),
    "ending": (trace.Tracer, "end"),
    "module hooks": (TensorOrigins, "pass_on"),
    "gradients": (recording.Recording, "backward"),
    "reduction": (recording.Recording, "reduce"),
    "optimiser": (TorchWatch, "_stepper"),
    "loss": (TorchWatch, "_loss"),
    "closing a step": (TorchWatch, "_close_step"),
    "writing": (Recorder, "record"),
    "events": (Recorder, "event"),
    "scalars": (Recorder, "scalar"),
    "the end": (TorchWatch, "_write_end"),
}


@pytest.mark.parametrize("place", FAULTS)
def test_a_fault_of_ours_never_reaches_the_training(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained("resnet", 12, None)
    owner, attribute = FAULTS[place]
    monkeypatch.setattr(owner, attribute, broken)
    watched = trained("resnet", 12, tmp_path / "run")
    assert all(torch.equal(plain[key], watched[key]) for key in plain)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("isometry:")]
    assert len(told) == 1
    assert "a fault of ours" in told[0]


def test_a_read_only_folder_costs_the_watch_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained("mlp", 5, None)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    watched = trained("mlp", 5, tmp_path / "run")
    monkeypatch.undo()
    assert all(torch.equal(plain[key], watched[key]) for key in plain)
    assert "Permission denied" in capsys.readouterr().err


def test_a_full_disk_costs_the_watch_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained("mlp", 30, None)
    write, written = os.write, [0]

    def filling(descriptor: int, data: bytes) -> int:
        written[0] += len(data)
        if written[0] > 20_000:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", filling)
    watched = trained("mlp", 30, tmp_path / "run", every=1)
    monkeypatch.undo()
    assert all(torch.equal(plain[key], watched[key]) for key in plain)
    err = capsys.readouterr().err
    assert err.count("isometry: watching stopped") == 1
    assert "No space left on device" in err
    assert len(isometry.load(tmp_path / "run").history.steps) >= 1


def test_an_exception_in_the_users_model_passes_through(tmp_path: Path) -> None:
    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError("theirs")

    model = Faulty()
    with (
        pytest.raises(ZeroDivisionError, match="theirs"),
        isometry.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), run=tmp_path / "run"),
    ):
        model(torch.ones(2, 3))
    assert_no_hooks(model)
    assert not torch.overrides._get_current_function_mode_stack()


@pytest.mark.parametrize("copied", ["pickle", "deepcopy", "torch.save"])
def test_a_watched_model_can_be_copied(copied: str, tmp_path: Path) -> None:
    net = NETS["resnet"]
    torch.manual_seed(0)
    model = net.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    copies: list[nn.Module] = []

    def copy_it(step: int) -> None:
        if step == 2 and copied == "pickle":
            copies.append(pickle.loads(pickle.dumps(model)))
        elif step == 2 and copied == "deepcopy":
            copies.append(copy.deepcopy(model))
        elif step == 2:
            buffer = io.BytesIO()
            torch.save(model, buffer)
            buffer.seek(0)
            copies.append(torch.load(buffer, weights_only=False))

    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        train(net, model, optimizer, 5, copy_it)
        inputs, _ = net.batch(torch.Generator().manual_seed(1))
        before = watch.run.history.total_steps
        copies[0].train()
        copies[0](inputs).sum().backward()
    assert watch.run.history.total_steps == before
    for ours, theirs in zip(model.state_dict().values(), copies[0].state_dict().values(), strict=True):
        assert ours.shape == theirs.shape


def test_a_saved_copy_loads_without_isometry(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    with isometry.watch(model, run=tmp_path / "run"):
        torch.save(model, tmp_path / "model.pt")
    program = (
        "import sys, torch; sys.modules['isometry'] = None; "
        f"m = torch.load({str(tmp_path / 'model.pt')!r}, weights_only=False); m(torch.ones(1, 2)).sum().backward()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_model_may_change_its_dtype_while_watched(tmp_path: Path) -> None:
    net = NETS["mlp"]
    torch.manual_seed(0)
    model = net.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        train(net, model, optimizer, 3)
        model.bfloat16()
        generator = torch.Generator().manual_seed(7)
        for _ in range(3):
            inputs, targets = net.batch(generator)
            loss = net.loss(model(inputs.bfloat16()).float(), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert len(watch.run.history.steps) == 6
    assert (watch.run.history["delta", "rms"] > 0).all()


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    net = NETS["mlp"]
    model = net.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = isometry.watch(model, optimizer, run=tmp_path / "run")
    train(net, model, optimizer, 3)
    watch.close()
    watch.close()
    assert len(watch.run.history.events("end")) == 1
    train(net, model, optimizer, 3)
    assert watch.run.history.total_steps == 3
