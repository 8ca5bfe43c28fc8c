"""Where things of a script come from, as a watch of its process tells it."""

import ast
import copy
import runpy

import pytest
import torch
from torch import nn

from isometry.adapters.torch.origins import Origins
from isometry.adapters.torch.watch import watch_process

SCRIPT = '''\
import copy
import functools

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A block may hold another one."""

    def __init__(self, depth):
        super().__init__()
        self.linear, self.inner = nn.Linear(4, 4), Block(depth - 1) if depth else None

    def forward(self, x):
        x = torch.tanh(
            self.linear(x)
        )
        return x if self.inner is None else self.inner(x)


class Custom(nn.Linear):
    def __init__(self, *args):
        super().__init__(*args)
        self.act = nn.GELU()

    def forward(self, x):
        return gated(self.act(super().forward(x)))


def gated(x):
    return x * F.sigmoid(x)


def make(parameters, rate):
    return torch.optim.SGD(parameters, lr=rate)


made = functools.partial(nn.Softplus, 2.0)
first = nn.Sequential(Block(1), Custom(4, 4), nn.Linear(4, 4), made())
encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
twin = copy.deepcopy(first)
model = nn.ModuleDict({"first": first, "encoder": encoder, "last": nn.Linear(4, 1)})
optimizer = make(model.parameters(), 0.1)
for _ in range(3):
    x = model["last"](model["encoder"](model["first"](torch.ones(2, 3, 4))))
    x.mean().backward()
    optimizer.step()
'''


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The event of one run of the script, and what each place in it reads."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "train.py").write_text(SCRIPT)
    before = nn.Module.__init__, nn.Module.__setstate__, torch.optim.Optimizer.add_param_group
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        watch = watch_process(run=folder / "run", every=1)
        assert nn.Module.__init__ is not before[0]
        runpy.run_path(str(folder / "train.py"), run_name="__main__")
        watch.close()
    assert (nn.Module.__init__, nn.Module.__setstate__, torch.optim.Optimizer.add_param_group) == before
    return watch.run.history.events("places")[-1]


def words(told, number):
    """The text of the call at a place."""
    file, line, end_line, column, end_column = told["places"][number]
    assert file == "train.py"
    extent = (line, column, end_line, end_column)
    calls = [node for node in ast.walk(ast.parse(SCRIPT)) if isinstance(node, ast.Call)]
    found = [one for one in calls if (one.lineno, one.col_offset, one.end_lineno, one.end_col_offset) == extent]
    assert len(found) == 1
    return ast.unparse(found[0])


def test_every_module_has_the_call_of_its_own_class(told):
    expected = {
        "first": "nn.Sequential(Block(1), Custom(4, 4), nn.Linear(4, 4), made())",
        "first.0": "Block(1)",
        "first.0.inner": "Block(depth - 1)",
        "first.0.linear": "nn.Linear(4, 4)",
        "first.1": "Custom(4, 4)",
        "first.1.act": "nn.GELU()",
        "first.3": "made()",
        "encoder": "nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)",
    }
    prefix = "model." if "model.first" in told["modules"] else ""
    assert {name: words(told, told["modules"][prefix + name]) for name in expected} == expected
    assert f"{prefix}encoder.linear1" not in told["modules"]  # made inside of torch, not by the script


def test_a_called_function_has_its_own_call_and_the_forward_that_it_stands_in(told):
    uses = [use for use in told["activations"] if use["called"] and use["function"] == "tanh"]
    assert len(uses) == 2
    assert {words(told, use["place"]) for use in uses} == {"torch.tanh(self.linear(x))"}
    assert {use["type"] for use in uses} == {"Block"}
    assert len({use["module"] for use in uses}) == 2
    assert told["instances"][uses[0]["place"]] == 4  # those of the copy too
    (outside,) = [use for use in told["activations"] if use["function"] == "sigmoid"]
    assert (words(told, outside["place"]), outside["type"]) == ("F.sigmoid(x)", "Custom")
    assert outside["layer"] is None  # its input has been through φ before


def test_a_module_that_is_an_activation_has_the_call_that_made_it(told):
    (use,) = [use for use in told["activations"] if use["function"] == "softplus"]
    assert not use["called"]
    assert (words(told, use["place"]), use["type"]) == ("made()", "Softplus")
    assert told["instances"][use["place"]] == 2  # it, and the copy
    within = [use for use in told["activations"] if use["function"] == "relu"]  # inside of torch's encoder
    assert all(use["place"] is None for use in within)
    assert within


def test_an_optimiser_has_the_calls_around_its_making_and_its_first_step(told):
    (making,) = told["optimizers"]
    assert (making["type"], making["rate"], making["groups"]) == ("SGD", 0.1, 1)
    chain = [words(told, frame["place"]) for frame in making["frames"]]
    assert chain == ["torch.optim.SGD(parameters, lr=rate)", "make(model.parameters(), 0.1)"]
    assert words(told, making["stepped"]["place"]) == "optimizer.step()"


def test_a_fault_of_ours_never_reaches_the_script(monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("isometry.adapters.torch.origins._maker", broken)
    watch = watch_process(run=tmp_path / "run", every=1)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()
    watch.close()
    (event,) = watch.run.history.events("places")
    assert event["words"] == "Places are not known: RuntimeError: broken"
    assert len(watch.run.history.steps) == 2


def test_what_is_noted_keeps_nothing_alive_and_stays_out_of_copies():
    origins = Origins()
    origins.attach()
    try:
        model = nn.Linear(2, 2)
        copied = copy.deepcopy(model)
        assert vars(copied).keys() == vars(model).keys() == vars(nn.Linear(2, 2)).keys()
        assert len(origins._alive) == 1
        del model
        assert not origins._alive
    finally:
        origins.detach()


def test_others_may_wrap_the_same_functions_and_nothing_is_noted_once_it_is_closed(monkeypatch):
    origins, before = Origins(), nn.Module.__init__
    origins.attach()
    ours = nn.Module.__init__

    def theirs(module, *args, **kwargs):
        ours(module, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__init__", theirs)
    origins.detach()
    assert nn.Module.__init__ is theirs
    model = nn.Linear(2, 2)
    assert isinstance(model, nn.Module)
    assert not origins._alive
    monkeypatch.setattr(nn.Module, "__init__", before)


def test_modules_that_cannot_be_hashed_or_compared_are_made_as_ever():
    class Odd(nn.Module):
        __hash__ = None

        def __eq__(self, other):
            raise RuntimeError

    origins = Origins()
    origins.attach()
    try:
        odd = [Odd(), Odd()]
    finally:
        origins.detach()
    assert origins.trouble is None
    assert len(origins._alive) == len(odd) == 2
