"""Where a loss, or the gradient behind it, stops being finite: named by operation and place, in short trainings."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry
from isometry.adapters.torch.loss import where_not_finite, where_slope_not_finite
from isometry.diagnosis.finding import Finding
from isometry.history.run import Run

Loss = Callable[[Tensor, Tensor, bool], Tensor]
"""Of the network's output, the class numbers, and whether this is the step in which it goes wrong."""
FATAL = 7
LAST = "between layer 6 and the loss"


def log_of_zero(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    probabilities = (z * (1e3 if fatal else 1)).softmax(1)
    return -torch.log(probabilities[range(len(classes)), classes]).mean()


def cross_entropy_by_hand(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    p, target = torch.sigmoid(z[:, 0] * (1e4 if fatal else 1)), (classes > 1).float()
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()


def norm_of_zero(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    z = z * (0 if fatal else 1)
    return F.mse_loss(z / z.norm(dim=1, keepdim=True), one_hot(classes))


def spread_of_one(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    z = z[: 1 if fatal else None]
    return ((z - z.mean(0)) / z.var(0).sqrt()).pow(2).mean()


def exponential(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    return ((z * (1e6 if fatal else 1)).exp() - one_hot(classes)).abs().mean()


def power(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    return (z * (1e12 if fatal else 1)).pow(4).mean()


def empty_selection(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    return F.cross_entropy(z, classes, reduction="none")[classes > (9 if fatal else 1)].mean()


def all_ignored(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    return F.cross_entropy(z, torch.full_like(classes, -100) if fatal else classes)


def lost_binary_target(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    target = one_hot(classes)
    target[0, 0] = float("nan") if fatal else 0.0
    return F.binary_cross_entropy_with_logits(z, target)


def lost_target(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    target = one_hot(classes)
    target[0, 0] = float("nan") if fatal else 0.0
    return F.mse_loss(z, target)


def root_of_negative(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    return (F.mse_loss(z, one_hot(classes)) - (1e3 if fatal else 0)).sqrt()


def root_of_zero(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    squared = (z[:8] - z[8:]).square().sum(1)
    return (squared * (torch.arange(8) > 0) if fatal else squared).sqrt().mean()


def masked_log(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    p = z.abs() * (torch.arange(4) > 0) if fatal else z.abs() + 1
    return torch.where(p > 0, p.log(), torch.zeros(())).square().mean()


def power_of_zero(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    return (z.abs() * (0 if fatal else 1)).pow(0.5).mean()


def log_next_to_zero(z: Tensor, classes: Tensor, fatal: bool) -> Tensor:
    p = z.softmax(1)
    return -torch.log(p * 1e-38 * 1e-6 if fatal else p).mean()


IN_THE_LOSS = {
    log_of_zero: "logarithm of zero",
    cross_entropy_by_hand: "logarithm of zero",
    norm_of_zero: "division by zero",
    spread_of_one: "standard deviation or variance of 1 value",
    exponential: "exponential that overflows",
    power: "power 4 that overflows",
    empty_selection: "mean of nothing",
    all_ignored: "mean over no targets",
    lost_binary_target: "target that is not finite",
    lost_target: "target that is not finite",
    root_of_negative: "square root of a negative number",
}
ON_THE_WAY_BACK = {
    root_of_zero: ("sqrt", "Square root of zero, where its slope is infinite"),
    masked_log: ("log", "Logarithm of zero"),
    log_next_to_zero: ("log", "Logarithm of a number next to zero, where its slope overflows"),
    power_of_zero: ("pow", "Power 0.5 of zero, where its slope is infinite"),
}
HEALTHY: dict[str, Loss] = {
    "cross entropy of large outputs": lambda z, classes, fatal: F.cross_entropy(z * 1e4, classes) / 1e4,
    "log softmax": lambda z, classes, fatal: F.nll_loss(z.log_softmax(1), classes),
    "root of an ordinary number": lambda z, classes, fatal: F.mse_loss(z, one_hot(classes)).add(1e-8).sqrt(),
    "distance with the slope of norms at zero": lambda z, classes, fatal: (
        (z - z.detach()).norm(dim=1).mean() + z.mean()
    ),
    "masked loss": lambda z, classes, fatal: torch.where(
        classes > 0, F.cross_entropy(z, classes, reduction="none"), torch.zeros(())
    ).mean(),
    "log of a clamped probability": lambda z, classes, fatal: -(z * 1e3).softmax(1).clamp(1e-7).log()[:, 0].mean(),
}


def one_hot(classes: Tensor) -> Tensor:
    return F.one_hot(classes, 4).float()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [module for width in (10, 32, 32) for module in (nn.Linear(width, 32), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(32, 4))


def trained(loss: Loss, folder: Path, *, every: int, rate: float = 0.05, inputs: Tensor | None = None) -> Run:
    model, generator = network(), torch.Generator().manual_seed(1)
    given, classes = torch.randn(16, 10, generator=generator), torch.randint(0, 4, (16,), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with isometry.watch(model, optimizer, run=folder, every=every) as watch:
        for step in range(FATAL + 5):
            optimizer.zero_grad()
            fed = inputs if inputs is not None and step == FATAL else given
            loss(model(fed), classes, step == FATAL).backward()
            optimizer.step()
    return watch.run


def found(run: Run) -> list[Finding]:
    return [finding for finding in isometry.diagnose(run).findings if finding.problem == "non_finite"]


every_step_or_not_the_fatal_one = pytest.mark.parametrize("every", [1, 5])


@pytest.mark.slow
@every_step_or_not_the_fatal_one
@pytest.mark.parametrize(("loss", "fault"), IN_THE_LOSS.items(), ids=lambda given: getattr(given, "__name__", ""))
@pytest.mark.filterwarnings("ignore:.*degrees of freedom:UserWarning")
def test_what_the_loss_makes_is_blamed_on_the_loss(loss: Loss, fault: str, every: int, tmp_path: Path) -> None:
    (finding,) = found(trained(loss, tmp_path / "run", every=every))
    assert finding.first_step == FATAL
    assert fault in finding.summary
    assert finding.causes[0].name == "loss function"
    assert LAST in finding.causes[0].words


@pytest.mark.parametrize(("loss", "told"), ON_THE_WAY_BACK.items(), ids=lambda given: getattr(given, "__name__", ""))
def test_a_gradient_lost_behind_a_finite_loss_is_blamed_on_the_backward_formula(
    loss: Loss, told: tuple[str, str], tmp_path: Path
) -> None:
    (finding,) = found(trained(loss, tmp_path / "run", every=1))
    assert finding.first_step == FATAL
    assert finding.layers == ("6",)
    assert "backward pass" in finding.summary
    assert finding.causes[0].name == "backward formula"
    assert finding.causes[0].words.startswith(told[1])
    assert f"at {told[0]} {LAST}" in finding.causes[0].words


def test_between_recorded_steps_the_operations_that_may_have_done_it_are_named(tmp_path: Path) -> None:
    (finding,) = found(trained(root_of_zero, tmp_path / "run", every=5))
    assert finding.first_step == FATAL + 1
    assert finding.causes[0].name == "backward formula"
    assert "sqrt" in finding.causes[0].words


@every_step_or_not_the_fatal_one
@pytest.mark.parametrize("rate", [1e4, 1e6])
@pytest.mark.parametrize(
    "loss", [lambda z, y, _: F.mse_loss(z, one_hot(y)), lambda z, y, _: F.cross_entropy(z, y)], ids=["mse", "ce"]
)
def test_weights_that_blew_up_before_are_an_overflow(loss: Loss, rate: float, every: int, tmp_path: Path) -> None:
    run = trained(loss, tmp_path / "run", every=every, rate=rate)
    problems = {finding.problem for finding in isometry.diagnose(run).findings}
    for finding in found(run):
        assert finding.causes[0].name == "overflow", finding
        assert "own computation" not in finding.summary
    assert "learning_rate_too_high" in problems


@every_step_or_not_the_fatal_one
def test_lost_data_are_told_from_a_lost_loss(every: int, tmp_path: Path) -> None:
    inputs = torch.randn(16, 10)
    inputs[3, 2] = float("nan")
    run = trained(lambda z, y, _: F.cross_entropy(z, y), tmp_path / "run", every=every, inputs=inputs)
    (finding,) = found(run)
    assert (finding.layers, finding.causes[0].name) == (("0",), "data")


@every_step_or_not_the_fatal_one
@pytest.mark.parametrize("loss", HEALTHY.values(), ids=HEALTHY)
def test_healthy_losses_stay_silent(loss: Loss, every: int, tmp_path: Path) -> None:
    run = trained(loss, tmp_path / "run", every=every)
    assert run.history.total_steps == FATAL + 5
    assert not found(run)


class Normalised(nn.Module):
    """Divides by its own spread, which is zero for equal inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.second(h / (h - h.mean(0)).abs().sum(0))


def names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name.rpartition(".")[0] for name, parameter in model.named_parameters()}


def test_an_operation_inside_the_network_is_placed_after_its_layer() -> None:
    model = Normalised()
    suspect = where_not_finite(model(torch.ones(3, 4)).mean(), names(model))
    assert suspect is not None
    assert (suspect.layer, suspect.operation, suspect.behind_layers) == ("first", "div", False)
    assert suspect.words == "division by zero (4 of 4 values), at div after first"


def test_a_loss_of_two_passes_is_a_loss_although_a_layer_ran_between() -> None:
    model = network()
    first, second = (model(torch.randn(3, 10)).sigmoid() for _ in range(2))
    suspect = where_not_finite((torch.log(first * 0) + torch.log(second)).mean(), names(model))
    assert suspect is not None
    assert (suspect.operation, suspect.behind_layers) == ("log", True)


def test_what_a_skip_carries_past_a_layer_is_no_loss() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    h = torch.log(first(torch.ones(2, 4)) * 0)
    model = nn.ModuleDict({"first": first, "second": second})
    suspect = where_not_finite((h + second(h)).mean(), names(model))
    assert suspect is not None
    assert (suspect.layer, suspect.behind_layers) == ("first", False)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: F.cross_entropy(z, torch.tensor([0, 1, 2])),
        lambda z: F.cross_entropy(z.view(1, 3, 4).transpose(1, 2), torch.tensor([[0, 1, 2]])),
        lambda z: -z.softmax(1).log().mean(),
        lambda z: F.binary_cross_entropy_with_logits(z, torch.zeros(3, 4)),
    ],
)
def test_an_output_that_overflowed_is_the_layers_fault(loss: Callable[[Tensor], Tensor]) -> None:
    model = network()
    with torch.no_grad():
        model[6].weight.mul_(1e38)
    suspect = where_not_finite(loss(model(torch.randn(3, 10) * 1e4)), names(model))
    assert suspect is not None
    assert (suspect.layer, suspect.behind_layers, suspect.fault) == ("6", False, "")


def test_a_lost_weight_comes_before_all_that_follows_from_it() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    suspect = where_not_finite(-torch.log(model(torch.randn(3, 10)) * 0).mean(), names(model))
    assert suspect is not None
    assert (suspect.layer, suspect.weight) == ("2", True)


def test_asking_leaves_the_graph_of_a_healthy_loss_whole() -> None:
    model = network()
    loss = F.cross_entropy(model(torch.randn(3, 10)), torch.tensor([0, 1, 2]))
    assert where_slope_not_finite(loss, names(model)) is None
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
