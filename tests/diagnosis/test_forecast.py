"""What one change would make of δ: foretold from recorded numbers, against networks drawn with that change."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isometry
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import AS_IT_IS
from isometry.report.text import finding_text, forecast_words


def stack(activation, *, depth=14, width=64, sigma_w=1.0, before=None, bias=0.0):
    torch.manual_seed(0)
    parts = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, 0, sigma_w / width**0.5)
        nn.init.constant_(layer.bias, bias)
        parts += [layer, *([before(width)] if before else []), activation()]
    return nn.Sequential(*parts, nn.Linear(width, 10))


def convolutions(activation, *, depth=12, channels=16, sigma_w=0.6):
    torch.manual_seed(0)
    parts = []
    for place in range(depth):
        layer = nn.Conv2d(channels if place else 1, channels, 3, padding=1)
        nn.init.normal_(layer.weight, 0, sigma_w / (9 * layer.in_channels) ** 0.5)
        nn.init.zeros_(layer.bias)
        parts += [layer, activation()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def rows(*shape):
    torch.manual_seed(1)
    return torch.randn(32, *shape), torch.randint(0, 10, (32,))


def forecasts_of(check):
    found = [finding for finding in check.findings if finding.forecasts]
    return {one.name: one.decades for one in found[0].forecasts} if found else {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "batch"),
    [
        pytest.param(stack(nn.Sigmoid), rows(64), id="sigmoid"),
        pytest.param(stack(nn.Tanh, sigma_w=0.6), rows(64), id="tanh, small weights"),
        pytest.param(stack(nn.ReLU, sigma_w=0.8), rows(64), id="ReLU, small weights"),
        pytest.param(stack(nn.ReLU, sigma_w=2.5), rows(64), id="ReLU, large weights"),
        pytest.param(stack(nn.GELU, sigma_w=0.7), rows(64), id="GELU, small weights"),
        pytest.param(stack(nn.Sigmoid, before=nn.LayerNorm), rows(64), id="sigmoid behind layer norm"),
        pytest.param(stack(nn.ReLU, width=12, sigma_w=0.8), rows(12), id="narrow"),
        pytest.param(convolutions(nn.ReLU), rows(1, 8, 8), id="convolutions"),
    ],
)
def test_forecasts_are_what_drawn_networks_show(net, batch):
    check = isometry.check(net, batch, F.cross_entropy, nets=12, seconds=60)
    foretold = forecasts_of(check)
    drawn = {one.name: one.backward for one in check.counterfactuals if np.isfinite(one.backward)}
    both = foretold.keys() & drawn.keys()
    assert AS_IT_IS in both
    assert len(both) >= 3
    for name in both:
        # Drawn networks are read in front of a norm, which divides δ by the size of what it reads.
        divided = float(check.forward[0]) if "norm before" in name else 0.0
        # A tenth of what is there now, and what one network differs from the mean of many by.
        near = pytest.approx(drawn[name] + divided, abs=0.4 + 0.1 * abs(drawn[AS_IT_IS]))
        assert foretold[name] == near, name


def test_the_network_as_it_is_is_what_was_measured():
    check = isometry.check(stack(nn.Sigmoid), rows(64), F.cross_entropy, nets=3)
    assert forecasts_of(check)[AS_IT_IS] == pytest.approx(check.backward[0], abs=0.01)


def test_the_best_change_comes_first_and_stands_in_words_and_data(tmp_path):
    net, (inputs, targets) = stack(nn.Sigmoid), rows(64)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with isometry.watch(net, optimizer, run=tmp_path / "run", every=1) as watching:
        for _ in range(20):
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), targets).backward()
            optimizer.step()
    finding = diagnose(watching.run).findings[0]
    sizes = [round(abs(one.decades), 1) for one in finding.forecasts]
    assert sizes == sorted(sizes)
    assert finding.to_dict()["forecasts"][0]["name"] == finding.forecasts[0].name
    assert "layer norm after sigmoid" in forecast_words(finding)
    assert "not: layer norm before sigmoid" in forecast_words(finding)
    assert "helps " in finding_text(finding, width=100)


class Block(nn.Module):
    """x + W φ(V φ(x)); behind the sum as well, if ``post``."""

    def __init__(self, width, post):
        super().__init__()
        self.first, self.second, self.post = nn.Linear(width, width), nn.Linear(width, width), post
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        branch = self.second(torch.relu(self.first(x if self.post else torch.relu(x))))
        return torch.relu(x + branch) if self.post else x + branch


def residual(blocks, *, post):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), *(Block(64, post) for _ in range(blocks)), nn.Linear(64, 10))


@pytest.mark.slow
def test_lighter_branches_are_foretold_for_residual_networks():
    check = isometry.check(residual(20, post=False), rows(64), F.cross_entropy, nets=12, seconds=60)
    foretold = forecasts_of(check)
    drawn = {one.name: one.backward for one in check.counterfactuals}
    assert foretold.keys() == {AS_IT_IS, "residual branches × 1/√L"}
    for name, decades in foretold.items():
        assert decades == pytest.approx(drawn[name], abs=0.4), name


@pytest.mark.slow
def test_nothing_is_foretold_of_branches_where_a_nonlinearity_follows_their_sum():
    check = isometry.check(residual(20, post=True), rows(64), F.cross_entropy, nets=3)
    assert "residual branches × 1/√L" in {one.name for one in check.counterfactuals}
    assert forecasts_of(check) == {}


@pytest.mark.slow
def test_a_nonlinearity_inside_the_branch_takes_nothing_from_the_skip():
    check = isometry.check(residual(20, post=False), rows(64), F.cross_entropy, nets=3)
    names = {cause.name for cause in check.findings[0].causes}
    assert "residual branch" in names
    assert not names & {"weight scale", "slope alignment", "operating point of relu"}


class Recurrent(nn.Module):
    """Nothing of it is a chain of layers that mean field follows."""

    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList(nn.GRUCell(16, 16) for _ in range(8))
        self.output = nn.Linear(16, 10)

    def forward(self, x):
        for cell in self.cells:
            x = 0.3 * cell(x)
        return self.output(x)


def test_nothing_is_foretold_where_theory_has_no_say():
    torch.manual_seed(0)
    check = isometry.check(Recurrent(), rows(16), F.cross_entropy, nets=3)
    assert check.findings[0].problem == "vanishing_gradient"
    assert forecasts_of(check) == {}


def test_nothing_is_foretold_of_a_network_whose_fall_theory_does_not_explain():
    net = stack(nn.Identity, depth=12)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):  # rank one: δ lies in none of the few directions that they pass on
                u, v = torch.randn(layer.out_features), torch.randn(layer.in_features)
                layer.weight.copy_(torch.outer(u, v) / u.norm() / v.norm() * 8)
    check = isometry.check(net, rows(64), F.cross_entropy, nets=3)
    for finding in check.findings:
        assert finding.forecasts == ()
