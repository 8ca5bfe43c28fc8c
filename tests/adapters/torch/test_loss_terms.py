"""Losses that add several up: each known term with its targets and the layer that gave its prediction."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry
from isometry.adapters.torch.loss import describe_loss

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
CLASSES = INPUTS[:, :3].argmax(1)
PRICES = 900 + 300 * INPUTS[:, 0]


class Heads(nn.Module):
    """A class and a number of one input."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.sort, self.price = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.trunk(x))
        return self.sort(h), self.price(h)[:, 0]


SUMS = {
    "plain": lambda z, y: F.cross_entropy(z, CLASSES) + F.mse_loss(y, PRICES),
    "weighed": lambda z, y: (0.3 * F.mse_loss(y, PRICES) + F.cross_entropy(z, CLASSES)) / 2 + 1.0,
    "stacked": lambda z, y: torch.stack([F.cross_entropy(z, CLASSES), F.mse_loss(y, PRICES)]).sum(),
    "by sample": lambda z, y: (
        F.cross_entropy(z, CLASSES, reduction="none") + F.mse_loss(y, PRICES, reduction="none")
    ).mean(),
}


@pytest.mark.parametrize("name", SUMS)
def test_every_known_term_is_described_with_its_layer(name: str) -> None:
    model = Heads()
    owners = {id(parameter): name.partition(".")[0] for name, parameter in model.named_parameters()}
    told = describe_loss(SUMS[name](*model(INPUTS)), owners)
    terms = {term["kind"]: term for term in told["terms"]}
    assert told["kind"] == "sum"
    assert told["targets"] is told["value"] is None
    assert {kind: term["layer"] for kind, term in terms.items()} == {"cross_entropy": "sort", "mse": "price"}
    assert terms["mse"]["targets"]["mean"] == pytest.approx(float(PRICES.mean()))


def test_one_known_term_or_several_of_one_scale_are_described_as_before() -> None:
    model = Heads()
    z, _ = model(INPUTS)
    penalised = describe_loss(F.cross_entropy(z, CLASSES) + 0.01 * model.sort.weight.square().sum())
    twice = describe_loss(F.cross_entropy(z, CLASSES) + F.cross_entropy(2 * z, CLASSES))
    assert penalised["kind"] == twice["kind"] == "cross_entropy"
    assert penalised["classes"] == twice["classes"] == 3
    assert "terms" not in penalised


@pytest.mark.parametrize(("scale", "mean", "found"), [(1.0, 0.0, []), (300.0, 900.0, ["D102"])])
def test_targets_of_one_head_are_found_and_told_by_its_name(scale: float, mean: float, found: list, tmp_path) -> None:
    torch.manual_seed(0)
    model, wanted = Heads(), mean + scale * INPUTS[:, 0]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        for _ in range(30):
            optimizer.zero_grad()
            z, y = model(INPUTS)
            (F.cross_entropy(z, CLASSES) + F.mse_loss(y, wanted)).backward()
            optimizer.step()
    findings = isometry.diagnose(watch.run, only=["D102"]).findings
    assert [finding.code for finding in findings] == found
    assert all(finding.layers == ("price",) and "targets of price" in finding.summary for finding in findings)
