"""An optimiser that becomes another one stays the object that loops and schedulers hold."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from isometry import CannotEdit
from isometry.adapters.torch.retuning import retuned
from isometry.network.edits import ChangeOptimizer, Clip, ScaleRate, SetEpsilon, WarmUp

KINDS = {
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.3, momentum=0.5),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.3),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.3, momentum=0.8, nesterov=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.3, weight_decay=0.2, amsgrad=True),
}
WANTED = {
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.02),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.9),
}


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 7), nn.SiLU(), nn.Linear(7, 1))


def groups(model: nn.Module) -> list[dict]:
    return [{"params": list(model[0].parameters())}, {"params": list(model[2].parameters()), "lr": 0.7}]


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 6) -> list[Tensor]:
    inputs = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [0, 2], ids=["fresh", "after steps"])
def test_the_object_takes_the_very_steps_of_the_other_optimiser(kind, wanted, steps):
    model = net()
    given = KINDS[kind](groups(model))
    trained(model, given, steps)
    twin = copy.deepcopy(model)
    held, first = given.param_groups, given.param_groups[0]
    assert retuned(given, [ChangeOptimizer(wanted, 0.02)]) is given
    assert given.param_groups is held
    assert given.param_groups[0] is first
    plain = [{"params": group["params"]} for group in groups(twin)]
    expected = trained(twin, WANTED[wanted](plain))
    assert all(map(torch.equal, trained(model, given), expected))
    assert set(first) == set(WANTED[wanted]([nn.Parameter(torch.zeros(1))]).param_groups[0])


def test_an_optimiser_of_another_layout_of_groups_becomes_adam_too():
    model = net()
    given = torch.optim.LBFGS(model.parameters(), lr=0.3)
    twin = copy.deepcopy(model)
    retuned(given, [ChangeOptimizer("adam", 0.02)])
    assert all(map(torch.equal, trained(model, given), trained(twin, torch.optim.Adam(twin.parameters(), lr=0.02))))


def test_a_loop_that_holds_the_optimiser_and_a_schedule_made_afterwards_go_on_with_it():
    model = net()
    given = torch.optim.SGD(model.parameters(), lr=5.0)
    heard: list[str] = []
    handle = given.register_step_post_hook(lambda optimizer, args, kwargs: heard.append(type(optimizer).__name__))
    retuned(given, [Clip(1.0), ChangeOptimizer("adam", 0.1), ScaleRate(0.5), WarmUp(2)])
    schedule = torch.optim.lr_scheduler.StepLR(given, step_size=1, gamma=0.1)
    trained(model, given, 1)
    schedule.step()
    assert heard == ["Adam"]
    assert [group["lr"] for group in given.param_groups] == pytest.approx([0.005])
    handle.remove()
    trained(model, given, 1)
    assert heard == ["Adam"]


def test_it_is_saved_loaded_copied_and_pickled_like_any_other():
    model = net()
    given = retuned(torch.optim.RMSprop(groups(model), lr=0.3), [ChangeOptimizer("adam", 0.02)])
    trained(model, given, 2)
    fresh = torch.optim.Adam(groups(model), lr=0.5)
    fresh.load_state_dict(given.state_dict())
    for other in (fresh, copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert type(other) is torch.optim.Adam
        for mine, theirs in zip(given.state.values(), other.state.values(), strict=True):
            assert torch.equal(mine["exp_avg_sq"], theirs["exp_avg_sq"])


def test_an_optimiser_that_a_schedule_drives_is_refused_and_left_alone():
    model = net()
    given = torch.optim.SGD(model.parameters(), lr=0.3)
    torch.optim.lr_scheduler.ExponentialLR(given, 0.9)
    before = {name: value for name, value in given.param_groups[0].items() if name != "params"}
    with pytest.raises(CannotEdit, match="SGD has a `step` of its own, from a scheduler or an earlier change"):
        retuned(given, [ChangeOptimizer("adam", 0.1)])
    with pytest.raises(CannotEdit, match="an earlier change"):
        retuned(retuned(torch.optim.SGD(model.parameters(), lr=0.3), [Clip(1.0)]), [ChangeOptimizer("adam", 0.1)])
    assert type(given) is torch.optim.SGD
    assert before == {name: value for name, value in given.param_groups[0].items() if name != "params"}


class Slotted(torch.optim.Optimizer):
    """Its objects have room for one more thing, so they cannot become Adam."""

    __slots__ = ("more",)

    def __init__(self, parameters) -> None:
        super().__init__(parameters, {"lr": 0.1})

    def step(self, closure=None):
        return None


class Around(torch.optim.Optimizer):
    """Hands everything to the optimiser inside, as wrappers for many devices do."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    @property
    def param_groups(self):
        return self.inner.param_groups

    def step(self, closure=None):
        return self.inner.step(closure)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda parameters: Slotted(parameters), r"cannot become Adam in place \(.*layout"),
        (lambda parameters: Around(torch.optim.SGD(parameters, lr=0.1)), "Around passes its steps on to another"),
    ],
)
def test_objects_that_cannot_become_another_are_refused_and_left_alone(make, words):
    weight = nn.Parameter(torch.zeros(2))
    given = make([weight])
    kind = type(given)
    with pytest.raises(CannotEdit, match=words):
        retuned(given, [ChangeOptimizer("adam", 0.1)])
    assert type(given) is kind
    assert given.param_groups[0]["params"] == [weight]


def test_epsilon_is_that_of_every_group_and_of_the_optimiser_that_comes_out():
    model = net()
    given = retuned(torch.optim.RMSprop(groups(model), lr=0.1), [SetEpsilon(1e-15)])
    assert [group["eps"] for group in given.param_groups] == [1e-15, 1e-15]
    given = retuned(torch.optim.SGD(groups(model), lr=0.1), [SetEpsilon(1e-15), ChangeOptimizer("adam", 0.1)])
    assert [group["eps"] for group in given.param_groups] == [1e-15, 1e-15]
    with pytest.raises(CannotEdit, match="The SGD has no ε of its own"):
        retuned(torch.optim.SGD(groups(model), lr=0.1), [SetEpsilon(1e-15)])
