"""Why a parameter has no gradient, or no optimiser."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import isometry


def reasons(
    tmp_path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[], None] | None = None
) -> dict[str, str]:
    def ordinary() -> None:
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()

    with isometry.watch(model, optimizer, run=tmp_path / "run") as watch:
        for _ in range(70):
            (step or ordinary)()
    events = watch.run.history.events("no_gradient")
    return {entry["name"]: entry["reason"] for entry in events[-1]["parameters"]} if events else {}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


def test_optimiser_of_another_model(tmp_path: Path) -> None:
    found = reasons(tmp_path, net(), torch.optim.SGD(net().parameters(), 0.1))
    assert set(found.values()) == {"optimizer holds another"}
    assert len(found) == 4


def test_optimiser_of_the_original_of_a_copy(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    assert set(reasons(tmp_path, copy.deepcopy(model), optimizer).values()) == {"optimizer holds another"}


def test_layer_replaced_after_the_optimiser_was_made(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model[2] = nn.Linear(4, 3)
    assert reasons(tmp_path, model, optimizer) == {
        "2.weight": "optimizer holds another",
        "2.bias": "optimizer holds another",
    }


def test_weights_that_are_left_out_beside_their_biases(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.Adam([model[0].bias, model[2].bias], 0.1)
    assert reasons(tmp_path, model, optimizer) == {
        "0.weight": "not in any optimizer",
        "2.weight": "not in any optimizer",
    }


def test_network_kept_aside_is_told_by_how_it_runs(tmp_path: Path) -> None:
    model = nn.ModuleDict({"online": net(), "target": net()})
    optimizer = torch.optim.Adam(model["online"].parameters(), 0.1)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                goal = self.parts["target"](x)
            return self.parts["online"](x) - goal

    assert set(reasons(tmp_path, Both(), optimizer).values()) == {"ran without gradient"}


def test_master_copy_that_is_fed_by_hand_is_as_good_as_held(tmp_path: Path) -> None:
    model = net().bfloat16()
    masters = [p.detach().float().requires_grad_() for p in model.parameters()]
    optimizer = torch.optim.SGD(masters, 0.1)

    def step() -> None:
        model.zero_grad()
        model(torch.randn(8, 4).bfloat16()).square().mean().backward()
        for master, p in zip(masters, model.parameters(), strict=True):
            master.grad = p.grad.float()
        optimizer.step()
        with torch.no_grad():
            for master, p in zip(masters, model.parameters(), strict=True):
                p.copy_(master)

    assert reasons(tmp_path, model, optimizer, step) == {}
