"""Diffs of whole scripts: applied, run as they stand, and held against the same change made while the script runs."""

import runpy
import shutil
import subprocess
import sys

import pytest
import torch

import isometry
from isometry.adapters.script_trainer import ScriptTrainer, placed
from isometry.adapters.torch.treatment import treating
from isometry.adapters.torch.watch import watch_process
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleOutput,
    ScaleRate,
    ScaleWeights,
    Standardise,
    WarmUp,
)
from isometry.treatment.patch import patch
from isometry.treatment.source import FROZEN, PASTE, REST, by_hand

pytestmark = pytest.mark.slow  # each starts programs of its own

LOOP = '''\
"""A network built in a loop."""
import torch
from torch import nn


def build(depth, width):
    layers = [nn.Linear(6, width), nn.Sigmoid()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(width, 1), nn.Sigmoid())


def main():
    torch.manual_seed(3)
    x = torch.randn(64, 6)
    y = (x[:, :1] > 0).float()
    net = build(3, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    losses = []
    for _ in range(6):
        opt.zero_grad()
        loss = nn.functional.binary_cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return net, losses


if __name__ == "__main__":
    model, losses = main()
'''

SHARED = """\
import torch
import torch.nn as layers


class Net(layers.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = layers.Linear(6, 12), layers.Linear(12, 12), layers.Linear(12, 1)
        self.act = layers.Sigmoid()

    def forward(self, x):
        return self.head(self.act(self.second(self.act(self.first(x)))))


class Trainer:
    def __init__(self):
        self.net = Net()
        self.optimizer = torch.optim.Adam(
            self.net.parameters(),
        )

    def fit(self, x, y, steps):
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = (self.net(x) - y).square().mean()
            loss.backward(); self.optimizer.step()
            yield loss.item()


torch.manual_seed(1)
inputs = torch.randn(32, 6)
trainer = Trainer()
losses = list(trainer.fit(inputs, inputs[:, :1], 6))
model = trainer.net
"""

CALLED = """\
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import softplus


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.d, self.e = nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, x):
        x = F.relu(self.a(x), inplace=True)
        x = torch.sigmoid(self.b(x))
        x = self.c(x).tanh()
        return self.e(softplus(self.d(x)))


torch.manual_seed(1)
x = torch.randn(32, 6)
y, layer = x[:, :1], "mine"
model = Net()
opt: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), 0.1)
losses = []
for step in range(6):
    opt.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    opt.step()  # every time
    losses += [loss.item()]
assert layer == "mine\""""  # without an end of the last line
CALLED = CALLED.replace('"mine\\""', '"mine"')

NET = "\r\n".join(
    (
        "# größer",
        "import torch.nn as nn",
        "",
        "",
        "def net(kind):",
        "\tµ = nn.ModuleList([nn.Linear(6, 9), kind(), nn.Linear(9, 9), kind()])",
        "\treturn nn.Sequential(*µ, nn.Linear(9, 1))",
        "",
    )
)
OUTSIDE = """\
from __future__ import annotations

from torch import manual_seed, nn, optim, randn
from parts.net import net

manual_seed(2)
x = randn(16, 6)
model = net(nn.Tanh)
losses = []
optimizer = getattr(optim, "SGD")(model.parameters(), **{"lr": 0.05})
for step in range(5):
    loss = model(x).square().mean()
    loss.backward()
    losses.append(loss.item())
    optimizer.step()
    model.zero_grad()
"""

IMAGES = '''\
import argparse

import torch
from torch import nn, optim


# Nine pixels.
class Images(nn.Module):
    """Convolutions."""

    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), act(), nn.Conv2d(8, 8, 3, padding=1), act())
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def make_optimizer(parameters, options):
    return optim.SGD(parameters, lr=options.lr or 1e-3, momentum=0.5)


def main(options):
    torch.manual_seed(0)
    x, y = torch.randn(16, 1, 3, 3), torch.arange(16) % 2
    model = Images()
    optimizer, parts = make_optimizer(model.parameters(), options), "mine"
    optimizer = make_optimizer(model.parameters(), options)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert parts == "mine"
    return model, losses


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
model, losses = main(parser.parse_args([]))
'''

SHORT = """\
import copy, torch
from torch import nn
class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__(); parts = [nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
        self.body = nn.Sequential(*parts)
        self.head = nn.Linear(width, 1)
    def forward(self, x): return self.head(self.body(x))
torch.manual_seed(4); x = torch.randn(32, 6); y = 3 * x[:, :1] + 5; losses = []
model = Net(); opt = torch.optim.SGD(model.parameters(), lr=0.05); schedule = torch.optim.lr_scheduler.StepLR(opt, 4)
for _ in range(6):
    loss = (model(x) - y).square().mean(); opt.zero_grad(); loss.backward(); opt.step(); schedule.step()
    losses.append(loss.item())
"""

STYLES = {
    "one line": {"train.py": SHORT},
    "one expression": {
        "train.py": SHORT.replace(
            "model = Net(); opt = torch.optim.SGD(model", "opt = torch.optim.SGD((model := Net())"
        )
    },
    "loop": {"train.py": LOOP},
    "shared": {"train.py": SHARED},
    "called": {"train.py": CALLED},
    "two files": {"train.py": OUTSIDE, "parts/net.py": NET, "parts/__init__.py": ""},
    "images": {"train.py": IMAGES},
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Writes the files of a style, runs them, watched, treated or plainly, and gives the script's variables."""

    class Made:
        folder = tmp_path / "project"

        def write(self, files):
            for name, text in files.items():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode())
            return self

        def run(self, script="train.py"):
            monkeypatch.chdir(self.folder)
            monkeypatch.setattr(sys, "path", [str(self.folder), *sys.path])
            monkeypatch.setattr(sys, "dont_write_bytecode", True)
            for name in [name for name in sys.modules if name.partition(".")[0] == "parts"]:
                del sys.modules[name]
            return runpy.run_path(str(self.folder / script), run_name="__main__")

        def watched(self, script="train.py"):
            monkeypatch.chdir(self.folder)
            watch = watch_process(run=tmp_path / "run", every=1)
            try:
                self.run(script)
            finally:
                watch.close()
            return watch.run

        def treated(self, edits):
            with torch.random.fork_rng():
                treatment = treating(edits)
                try:
                    variables = self.run()
                finally:
                    treatment.close()
            assert treatment.trouble is None
            return variables

        def apply(self, diff):
            """As ``patch -p0`` does, but for exact matches alone."""
            assert diff.startswith("--- ")
            for part in diff.split("--- ")[1:]:
                head, _, hunks = part.partition("\n+++ ")
                path = self.folder / head.rstrip("\t")
                text = path.read_bytes().decode()
                for hunk in hunks.split("\n@@ ")[1:]:
                    lines = hunk.partition("\n\n#")[0].partition("\n")[2].rstrip("\n").split("\n")
                    sides = [[], []]
                    for line in lines:
                        if line.startswith("\\"):
                            sides[0][-1:], sides[1][-1:] = [sides[0][-1]], [sides[1][-1]]
                            continue
                        for side, others in ((0, "+"), (1, "-")):
                            if not line.startswith(others):
                                sides[side].append(line[1:])
                    old, new = ("\n".join(side) for side in sides)
                    assert text.count(old) == 1, hunk
                    text = text.replace(old, new)
                path.write_bytes(text.encode())
            return self

    return Made()


def modules(model):
    return [type(module).__name__ for module in model.modules() if not list(module.children())]


PLANS = {
    "one line": [
        (InsertNorm(("body.0", "body.2"), "layer"), ScaleOutput(("head",), 5.0, 3.0), Clip(0.01)),
        (ScaleWeights(("body.0", "head"), 3.0), WarmUp(3), ScaleRate(0.5)),
        (InsertNorm(("body.0", "body.2"), "rms", after=True), Clip(0.02, "adaptive")),
    ],
    "one expression": [
        (ScaleWeights(("body.0",), 3.0), WarmUp(3), Clip(0.01)),
    ],
    "loop": [
        (ReplaceActivation(("0", "2", "4", "6"), "relu"), InsertNorm(("0", "2", "4", "6"), "layer"), ScaleRate(0.5)),
        (ReplaceActivation(("0", "2", "4", "6"), "gelu_tanh"), Clip(0.01)),
        (InsertNorm(("0", "2", "4", "6"), "rms", after=True), ChangeOptimizer("adam", 0.002)),
        (AddSkip(("2", "4", "6")), WarmUp(4), ScaleRate(0.5)),
        (ReplaceActivation(("2", "4"), "tanh"),),  # 6 comes from the same place
        (Clip(0.02, "adaptive"), ScaleWeights(("0", "8"), 2.0)),
    ],
    "shared": [
        (ReplaceActivation(("first", "second"), "silu"), ScaleRate(3.0)),
        (ScaleWeights(("first",), 3.0), Clip(0.01), WarmUp(3)),
        (ChangeOptimizer("sgd", 0.1),),
    ],
    "called": [
        (ReplaceActivation(("a", "b"), "tanh"), ReplaceActivation(("c", "d"), "leaky_relu"), ScaleRate(0.1)),
        (ReplaceActivation(("a", "b", "c", "d"), "gelu_tanh"), ScaleWeights(("a", "e"), 0.5), Clip(0.1)),
        (ReplaceActivation(("a", "b", "c", "d"), "identity"), WarmUp(3)),
        (InsertNorm(("a", "b"), "layer"), ChangeOptimizer("adam", 0.01)),
    ],
    "two files": [
        (ReplaceActivation(("0", "2"), "elu"), ChangeOptimizer("adam", 0.02)),
        (InsertNorm(("0", "2"), "layer"), Clip(0.001), ScaleWeights(("4",), 0.5)),
    ],
    "images": [
        (ReplaceActivation(("body.0", "body.2"), "tanh"), ScaleRate(0.3)),
        (InsertNorm(("body.0", "body.2"), "layer"), ScaleWeights(("head",), 5.0), Clip(0.05)),
        (InsertNorm(("body.0", "body.2"), "group", after=True), ChangeOptimizer("adam", 0.01)),
    ],
}


@pytest.mark.parametrize(("style", "edits"), [(style, edits) for style, plans in PLANS.items() for edits in plans])
def test_the_patched_script_trains_as_the_treated_one_does(made, style, edits):
    run = made.write(STYLES[style]).watched()
    plain = made.run()
    treated = made.treated(edits)
    told = by_hand(edits, run)
    print(told)
    assert told.startswith("--- ")
    assert REST not in told
    patched = made.apply(told).run()
    assert patched["losses"] == pytest.approx(treated["losses"], rel=2e-4)  # norms written in other operations
    assert patched["losses"] != pytest.approx(plain["losses"], rel=1e-3)


def test_the_change_reads_as_one_would_make_it(made):
    run = made.write(STYLES["loop"]).watched()
    edits = (ReplaceActivation(("0", "2", "4", "6"), "relu"), InsertNorm(("0", "2", "4", "6"), "layer"), ScaleRate(0.1))
    told = [line for line in by_hand((*edits, Clip(2.5)), run).splitlines() if line[:1] in "+-"]
    assert told == [
        "--- train.py",
        "+++ train.py",
        "-    layers = [nn.Linear(6, width), nn.Sigmoid()]",
        "+    layers = [nn.Linear(6, width), nn.Sequential(nn.LayerNorm(width), nn.ReLU())]",
        "-        layers += [nn.Linear(width, width), nn.Sigmoid()]",
        "+        layers += [nn.Linear(width, width), nn.Sequential(nn.LayerNorm(width), nn.ReLU())]",
        "-    opt = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)",
        "+    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)",
        "+        nn.utils.clip_grad_norm_(net.parameters(), 2.5)",
    ]


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch")
@pytest.mark.parametrize(("style", "edits"), [("two files", PLANS["two files"][1]), ("called", PLANS["called"][1])])
def test_patch_takes_the_diff_with_all_that_stands_below(made, style, edits):
    run = made.write(STYLES[style]).watched()
    told = by_hand((*edits, Standardise()), run)
    assert REST in told
    expected = made.apply(told).run()["losses"]
    contents = {name: (made.folder / name).read_bytes() for name in STYLES[style]}
    made.write(STYLES[style])
    subprocess.run(["patch", "-p0", "--binary"], input=told.encode(), cwd=made.folder, check=True, capture_output=True)
    assert {name: (made.folder / name).read_bytes() for name in STYLES[style]} == contents
    assert made.run()["losses"] == expected


def test_nothing_is_written(made):
    run = made.write(STYLES["called"]).watched()
    before = (made.folder / "train.py").stat().st_mtime_ns
    by_hand(PLANS["called"][1], run)
    assert (made.folder / "train.py").stat().st_mtime_ns == before
    assert (made.folder / "train.py").read_bytes() == CALLED.encode()


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_text(LOOP.replace("0.9", "0.8")), lambda path: path.unlink()]
)
def test_a_file_that_is_not_what_it_was_is_left_alone(made, spoil):
    run = made.write(STYLES["loop"]).watched()
    spoil(made.folder / "train.py")
    edits = PLANS["loop"][0]
    told = by_hand(edits, run)
    assert told.startswith(f"{PASTE}\n# train.py: it ")
    assert patch(edits, run.architecture) in told


def test_a_run_without_places_gets_code_to_paste(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isometry.watch(model, optimizer, run=tmp_path / "run") as watch:
        model(torch.ones(4, 2)).square().mean().backward()
        optimizer.step()
    assert not watch.run.history.events("places")
    assert by_hand((ScaleRate(0.1),), watch.run) == patch((ScaleRate(0.1),), watch.run.architecture)


SPARE = LOOP.replace("    opt = ", "    SPARE\n    opt = ")


@pytest.mark.parametrize(
    "spare", ["other = build(3, 10)", "import copy; other = copy.deepcopy(net)", "other = nn.ModuleList([net[1]] * 2)"]
)
def test_what_others_have_too_is_changed_in_the_network_alone(made, spare):
    """Another network from the same lines, a copy, of which nobody knows the lines; a mere reference is no other."""
    run = made.write({"train.py": SPARE.replace("SPARE", spare)}).watched()
    edits = (ReplaceActivation(("0", "2", "4", "6"), "relu"),)
    told = by_hand(edits, run)
    assert ("nn.Linear(6, width), nn.ReLU()" in told) == ("[net[1]]" in spare)
    treated = made.treated(edits)
    patched = made.apply(told).run()
    assert patched["losses"] == pytest.approx(treated["losses"], rel=2e-4)
    assert modules(patched["model"])[1:8:2] == ["ReLU"] * 4


def test_norms_of_different_width_are_put_in_where_the_network_is_built(made):
    funnel = LOOP.replace("for _ in range(depth)", "for k in range(depth)").replace(
        "nn.Linear(width, width), nn.Sigmoid()", "nn.Linear(width - k, width - k - 1), nn.Sigmoid()"
    )
    funnel = funnel.replace("*layers, nn.Linear(width, 1)", "*layers, nn.Linear(width - depth, 1)")
    run = made.write({"train.py": funnel}).watched()
    edits = (InsertNorm(("0", "2", "4", "6"), "layer"), ScaleRate(2.0))
    told = by_hand(edits, run)
    assert "nn.LayerNorm(width - k - 1)" in told
    assert "lr=1," in told
    assert FROZEN not in told
    treated = made.treated(edits)
    assert made.apply(told).run()["losses"] == pytest.approx(treated["losses"], rel=2e-4)


def test_sizes_that_the_code_does_not_tell_are_said_to_be_those_of_the_run(made):
    apart = LOOP.replace("[nn.Linear(width, width), nn.Sigmoid()]", "[nn.Linear(width, [width][0]), nn.Sigmoid()]")
    run = made.write({"train.py": apart}).watched()
    edits = (InsertNorm(("0", "2", "4", "6"), "layer"),)
    told = by_hand(edits, run)
    assert "nn.LayerNorm(width)" in told
    assert "nn.LayerNorm(10)" in told
    assert told.endswith(f"\n{FROZEN}\n")
    treated = made.treated(edits)
    assert made.apply(told).run()["losses"] == pytest.approx(treated["losses"], rel=2e-4)


def test_a_diff_suits_other_arguments_where_it_says_nothing_of_sizes(made):
    run = made.write(STYLES["loop"]).watched()
    made.apply(by_hand((InsertNorm(("0", "2", "4", "6"), "rms"), ScaleRate(0.3)), run))
    text = (made.folder / "train.py").read_text()
    made.write({"train.py": text.replace("build(3, 10)", "build(5, 17)")})
    assert modules(made.run()["model"]).count("RMSNorm") == 6


def test_a_copy_of_the_network_gives_what_it_gives(made):
    """One that stands between the lines that make the network and its optimiser: a target network, an average."""
    copied = SHORT.replace(
        "model = Net(); opt", "model = Net()\nif True: model.double().float()\nother = copy.deepcopy(model); opt"
    )
    run = made.write({"train.py": copied}).watched()
    variables = made.apply(by_hand((ScaleOutput(("head",), 5.0, 3.0),), run)).run()
    variables["other"].load_state_dict(variables["model"].state_dict())
    assert torch.equal(variables["other"](variables["x"]), variables["model"](variables["x"]))


@pytest.mark.parametrize(
    ("script", "edit", "reason"),
    [
        (
            SHORT.replace("model = Net(); opt = torch.optim.SGD(model", "opt = torch.optim.SGD((model := Net())"),
            AddSkip(("body.2",)),
            "# train.py, line 10: one statement makes the network and its optimiser.",
        ),
        (
            SHORT.replace(
                "opt = torch.optim.SGD(model.parameters(), lr=0.05)",
                "opt, _ = torch.optim.SGD(model.parameters(), lr=0.05), 1",
            ),
            WarmUp(3),
            "# train.py, line 10: the optimiser is given no name.",
        ),
        (
            SHORT.replace("model = Net(); opt", "if True: model = Net(); opt"),
            ScaleWeights(("head",), 2.0),
            "# train.py, line 10: no line can be put in there.",
        ),
        (SHORT, Standardise(), "# It is not known where the inputs are read."),
    ],
)
def test_code_to_paste_is_told_with_the_reason(made, script, edit, reason):
    run = made.write({"train.py": script}).watched()
    told = by_hand((edit,), run)
    assert told.startswith(f"{PASTE}\n{reason}\n\n{patch((edit,), run.architecture)}")


SCALED = """\
import torch
from torch import nn

torch.manual_seed(0)
net, critic = nn.Linear(4, 4), nn.Linear(4, 1)
first = torch.optim.SGD(net.parameters(), lr=0.1)
second = torch.optim.SGD([{"params": [critic.weight], "lr": 1.0}, {"params": [critic.bias]}], lr=0.2)
scaler = torch.amp.GradScaler("cpu")
x = torch.randn(8, 4)
losses = []
for _ in range(5):
    loss = (critic(net(x)) - 1).square().mean()
    scaler.scale(loss).backward()
    scaler.step(first)
    second.step()
    scaler.update()
    losses.append(loss.item())
    net.zero_grad(), critic.zero_grad()
"""


def test_what_has_no_place_stands_below_the_diff(made):
    """Two networks, two optimisers, one of them with groups: there is no line for these changes."""
    run = made.write({"train.py": SCALED}).watched()
    edits = (ScaleRate(0.1), Clip(1.0))
    told = by_hand(edits, run)
    assert told == (f"{PASTE}\n# There are several optimisers.\n\n" + patch(edits, run.architecture))
    one = SCALED.replace("    second.step()\n", "").replace("scaler.step(first)", "scaler.step(first); print()")
    run = made.write({"train.py": one}).watched()
    told = by_hand((ScaleRate(0.1), Clip(1.0), Standardise()), run)
    diff, _, rest = told.partition(REST)
    assert "+first = torch.optim.SGD(net.parameters(), lr=0.01)" in diff
    assert (
        "+first.register_step_pre_hook(clip)" not in diff
    )  # with two networks none is the one whose gradients to clip
    assert "clip_grad_norm_" in rest
    assert "mean = inputs.mean" in rest


def test_no_code_is_inserted_where_names_mean_something_else(made):
    listed = "(opt,) = [torch.optim.SGD(n.parameters(), lr=0.5) for n in (net,)]"
    script = LOOP.replace("opt = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)", listed)
    run = made.write({"train.py": script}).watched()
    told = by_hand((ScaleWeights(("2",), 2.0), WarmUp(3), ScaleRate(0.5)), run)
    diff, _, rest = told.partition(REST)
    assert "lr=0.25" in diff
    for code in ("parameter *= 2", "LinearLR"):
        assert code in rest
        assert code not in diff
    made.apply(told).run()


def test_code_goes_where_the_function_inside_an_expression_is_called(made):
    chosen = "make = lambda n: torch.optim.SGD(n.parameters(), lr=0.5)\n    opt = make(net)"
    script = LOOP.replace("opt = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)", chosen)
    run = made.write({"train.py": script}).watched()
    edits = (ScaleWeights(("2",), 2.0), ScaleRate(0.5))
    treated = made.treated(edits)
    told = by_hand(edits, run)
    assert told.index("+        for name in") < told.index("     opt = make(net)")
    assert made.apply(told).run()["losses"] == pytest.approx(treated["losses"], rel=2e-4)


def test_weights_are_drawn_before_the_optimiser_is_made(made):
    run = made.write(STYLES["images"]).watched()
    edits = (Reinitialise(("body.0", "body.2"), 2.0),)
    plain = made.run()["model"]
    told = by_hand(edits, run)
    assert told.index("nn.init.normal_") < told.index("optimizer = make_optimizer(model.parameters(), options)")
    patched = made.apply(told).run()["model"]
    assert not torch.equal(patched.body[2].weight, plain.body[2].weight)
    assert float(patched.body[2].weight.detach().std()) == pytest.approx(2 / (8 * 9) ** 0.5, rel=0.1)  # of 576 draws


def test_places_in_a_scratch_directory_are_those_of_the_script_itself(made, tmp_path):
    """``fix`` runs a script in a mirror of its folder, where its files have other paths."""
    made.write(STYLES["two files"])
    script = placed(isometry.Script("train.py", folder=made.folder))
    course = ScriptTrainer(script, tmp_path / "study").train((), seed=0, run=tmp_path / "run")
    assert course.fault == ""
    edits = PLANS["two files"][0]
    treated = made.treated(edits)
    patched = made.apply(by_hand(edits, isometry.load(course.run))).run()
    assert patched["losses"] == pytest.approx(treated["losses"], rel=2e-4)


def test_compiled_code_may_make_modules_while_it_is_watched(made):
    """The compiler would have to follow us otherwise, and could not."""
    script = """\
import torch
from torch import nn

@torch.compile(backend="eager", fullgraph=True)
def doubled(x):
    return nn.Identity()(x) * 2

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(doubled(torch.ones(2, 3))).sum().backward()
    optimizer.step()
"""
    run = made.write({"train.py": script}).watched()
    assert len(run.history.events("places")) == 1
