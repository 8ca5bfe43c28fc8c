"""``isometry check``: a script is followed to its first step and left there; an experiment is found by its name."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isometry import api
from tests.cli import faked
from tests.cli.conftest import SCRIPTS, Ended, run_process

TRAINS = str(SCRIPTS / "trains.py")

FAKED = str(Path(faked.__file__))

HEAD = """
import sys
import torch
from torch import nn
from torch.nn.functional import cross_entropy

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 1, 0])
"""
LOOP = """
for step in range(3):
    print("step", step)
    cross_entropy(model(x), y).backward()
    optimizer.step()
print("trained")
"""

Check = Callable[..., Ended]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """``check("train.py", HEAD + LOOP)``: written, and checked by verbs that tell what reaches them."""

    def call(*arguments: str, **scripts: str) -> Ended:
        for name, text in scripts.items():
            (tmp_path / f"{name}.py").write_text(text)
        return run_process(sys.executable, FAKED, "check", *arguments, cwd=tmp_path)

    return call


def facts(ended: Ended) -> dict[str, Any]:
    assert ended.out, ended.err
    found = json.loads(ended.out)
    assert isinstance(found, dict)
    return found


# Scripts --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_script_runs_to_its_first_step_and_no_further(check: Check, tmp_path: Path) -> None:
    ended = check("train.py", "--lr", "0.1", train=f"{HEAD}print(sys.argv)\n{LOOP}")
    assert ended.out == "['train.py', '--lr', '0.1']\nstep 0\nchecked: Sequential\n"
    assert ended.err == "isometry  checking train.py\n"
    assert ended.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


@pytest.mark.slow
def test_json_stands_alone_and_options_before_the_script_are_ours(check: Check) -> None:
    ended = check(
        *("--json", "--nets", "7", "--seconds", "2.5", "--fail-on", "slows", "train.py", "--json", "--nets", "x"),
        train=f"{HEAD}print(sys.argv[1:])\n{LOOP}",
    )
    found = facts(ended)
    assert found["inputs"] == [[6, 4]]
    assert found["cotangents"] == [True]
    assert found["kind"] == "cross_entropy"
    assert (found["nets"], found["seconds"]) == (7, 2.5)
    assert ended.err == "isometry  checking train.py\n['--json', '--nets', 'x']\nstep 0\n"
    assert ended.code == 1


@pytest.mark.slow
def test_report_is_written_where_it_is_asked_for(check: Check, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    ended = check("--report", "reports", "train.py", train=f"{HEAD}import os; os.chdir('/')\n{LOOP}")
    assert (tmp_path / "reports" / "train-check.html").read_text() == "a report"
    assert "train-check.html" in ended.err


@pytest.mark.slow
def test_module_is_run_as_python_would(check: Check, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "__init__.py").write_text("")
    (tmp_path / "project" / "train.py").write_text(f"{HEAD}print(__name__, __package__, sys.argv[1:])\n{LOOP}")
    ended = check("-m", "project.train", "a")
    assert ended.out == "__main__ project ['a']\nstep 0\nchecked: Sequential\n"


SWALLOWS = """
def fit():
    for epoch in range(100):
        try:
            cross_entropy(model(x), y).backward()
            optimizer.step()
            print("a step was taken")
        except BaseException as fault:
            print("caught", type(fault).__name__, epoch)
try:
    fit()
    model.eval()(x)
    print("evaluated")
except BaseException as fault:
    raise RuntimeError("the training has failed") from fault
"""


@pytest.mark.slow
def test_script_that_swallows_everything_takes_no_step(check: Check) -> None:
    ended = check("train.py", train=HEAD + SWALLOWS)
    assert ended.out.startswith("caught SystemExit 0\ncaught SystemExit 1\n")
    assert ended.out.endswith("checked: Sequential\n")
    assert "a step was taken" not in ended.out
    assert "evaluated" not in ended.out
    assert "Traceback" not in ended.err
    assert ended.code == 0


ENDLESS = """
while True:
    try:
        cross_entropy(model(x), y).backward()
        optimizer.step()
    except BaseException as fault:
        print("caught", type(fault).__name__)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_script_that_cannot_be_left_is_checked_where_it_stands(check: Check) -> None:
    ended = check("train.py", train=HEAD + ENDLESS)
    assert ended.out == "caught SystemExit\n" * 5 + "checked: Sequential\n"
    assert ended.code == 0


VALIDATES_FIRST = """
model.eval()
print(float(cross_entropy(model(torch.zeros(3, 4)), y[:3]).detach()))
with torch.no_grad():
    model(torch.zeros(3, 4))
model.train()
"""
ADVERSARIES = """
generator, critic = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
fake = generator(torch.randn(6, 3))
(critic(fake.detach()).mean() - critic(x).mean()).backward()
"""
TRANSFORMERS = """
from dataclasses import dataclass
@dataclass
class Output:
    loss: torch.Tensor
    logits: torch.Tensor
class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 2)
    def forward(self, input_values, labels=None):
        logits = self.body(input_values)
        return Output(cross_entropy(logits, labels), logits)
Classifier()(input_values=x, labels=y).loss.backward()
"""
THREADED = """
import threading
def fit():
    cross_entropy(model(x), y).backward()
    print("a step was taken")
threading.Thread(target=fit).start()
"""
SCALED = """
scaler = torch.amp.GradScaler("cpu")
with torch.autocast("cpu", dtype=torch.bfloat16):
    loss = cross_entropy(model(x), y)
scaler.scale(loss).backward()
"""
ACCUMULATES = """
for part in (x[:3], x[3:]):
    (cross_entropy(model(part), y[:3]) / 2).backward()
"""
CLOSURE = """
lbfgs = torch.optim.LBFGS(model.parameters())
def closure():
    lbfgs.zero_grad()
    loss = cross_entropy(model(x), y)
    loss.backward()
    return loss
lbfgs.step(closure)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (VALIDATES_FIRST + LOOP, {"inputs": [[6, 4]], "training": True, "others": []}),
        (ADVERSARIES, {"inputs": [[6, 4]], "others": ["generator"]}),
        (TRANSFORMERS, {"model": "Classifier", "inputs": [[6, 4], [6]], "cotangents": [True, False]}),
        (THREADED, {"inputs": [[6, 4]]}),
        (SCALED, {"kind": "cross_entropy", "cotangents": [True]}),
        (ACCUMULATES, {"inputs": [[3, 4]]}),
        (CLOSURE, {"inputs": [[6, 4]]}),
    ],
    ids=["validates first", "adversaries", "transformers", "threaded", "scaled", "accumulates", "closure"],
)
def test_first_step_of_many_kinds_is_found(check: Check, script: str, expected: dict[str, Any]) -> None:
    ended = check("--json", "train.py", train=HEAD + script)
    found = facts(ended)
    assert {name: found[name] for name in expected} == expected
    assert 0 < abs(found["loss"]) < 2
    assert ("called too, and not checked: " in ended.err) == bool(found["others"])
    assert "Traceback" not in ended.err
    assert "a step was taken" not in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_do_no_harm(check: Check, method: str) -> None:
    ended = check("--json", TRAINS, "--workers", method)
    assert facts(ended)["inputs"] == [[16, 8]]
    assert ended.err == f"isometry  checking {TRAINS}\n"


# Scripts that come to no step -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_failure_before_the_first_step_is_told_as_python_tells_it(check: Check, tmp_path: Path) -> None:
    ended = check("train.py", train=f"{HEAD}def fail():\n    model(torch.zeros(2, 9))\nfail()\n")
    plain = run_process(sys.executable, "train.py", cwd=tmp_path)
    ours, theirs = ended.err.splitlines(), plain.err.splitlines()
    assert ended.code == plain.code == 1
    assert ours[-1] == "isometry  nothing was checked: the script ended before its first training step."
    assert [line for line in ours[1:-1] if not line.startswith(" ")] == [
        line for line in theirs if not line.startswith(" ")
    ]
    assert "/isometry/" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("import sys\nsys.exit(3)", 3, "the script ended before its first training step."),
        ("raise ValueError('early')", 1, "the script ended before its first training step."),
        ("print('no training')", 2, "the script never used torch."),
        pytest.param(f"{HEAD}sys.exit()", 2, "no training step was seen", marks=pytest.mark.slow),
        pytest.param(f"{HEAD}model(x)", 2, "no training step was seen", marks=pytest.mark.slow),
    ],
)
def test_script_that_comes_to_no_step_is_told_so(check: Check, script: str, code: int, words: str) -> None:
    ended = check("--json", "train.py", train=script)
    assert ended.code == code
    assert words in ended.err.splitlines()[-1]
    assert ended.out == ""


# Experiments ----------------------------------------------------------------------------------------------------------

EXPERIMENTS = """
from beside import size
from isometry.network.experiment import Experiment

experiment = Experiment(build=lambda: None, data=None, loss_fn=None, optimizer=None, epochs=size)
number = 3

def deep():
    return experiment

def fails():
    raise ValueError("of its own")

def needs(depth):
    return experiment
"""


@pytest.fixture
def here(tmp_path: Path, command: Check, monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """``isometry check`` in this process, in a folder that holds experiments; what it imports is forgotten again."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "experiments.py").write_text(EXPERIMENTS)
    (tmp_path / "project" / "beside.py").write_text("size = 5\n")
    (tmp_path / "project" / "broken.py").write_text("import no_such_package\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(api, "check", faked.check)
    before = set(sys.modules)
    yield lambda *arguments: command("check", *arguments)
    for name in set(sys.modules) - before:
        if name in ("beside", "broken", "experiments") or name.startswith("elsewhere"):
            del sys.modules[name]


@pytest.mark.parametrize("target", ["project/experiments.py:experiment", "project/experiments.py:deep"])
def test_experiment_in_a_file_is_found(here: Check, target: str) -> None:
    ended = here("--nets", "4", target)
    assert ended.out == "checked: Experiment of 5 epochs, 4 nets\n"
    assert ended.err == f"isometry  checking {target}\n"
    assert ended.code == 0


def test_experiment_in_a_module_is_found(here: Check, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    text = EXPERIMENTS.replace("from beside", "from .beside")
    (tmp_path / "elsewhere" / "experiments.py").write_text(text)
    (tmp_path / "elsewhere" / "beside.py").write_text("size = 6\n")
    assert here("elsewhere.experiments:deep").out == "checked: Experiment of 6 epochs, None nets\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.py",), "There is no file missing.py"),
        (("missing.py:deep",), "There is no file missing.py"),
        (("-m", "no.such.module"), "There is no module no.such.module"),
        (("no.such.module:deep",), "There is no module no.such.module"),
        (("project/experiments.py:shallow",), "There is no shallow in project/experiments.py. Name one of these: "),
        (("project/experiments.py:number",), "is a int, and an"),
        (("project/experiments.py:Experiment",), "is the class Experiment, and an"),
        (("project/experiments.py:deep", "more"), "more: project/experiments.py:deep is an experiment"),
        (("--nets", "1", "x.py"), "--nets 1: a whole number of networks is needed, 3 or more"),
        (("--nets", "few", "x.py"), "--nets few"),
        (("--seconds", "0", "x.py"), "--seconds 0: a time in seconds is needed"),
        (("--seconds", "nan", "x.py"), "--seconds nan"),
        (("--fail-on", "always", "x.py"), "--fail-on always"),
        (("--report", "x.txt", "x.py"), "--report x.txt: a file that ends in one of .html"),
        ((), "Missing argument 'TARGET'"),
    ],
)
def test_misuse_is_one_message(here: Check, arguments: tuple[str, ...], words: str) -> None:
    ended = here(*arguments)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert "checking" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("project/broken.py:deep", "project/broken.py could not be imported: ModuleNotFoundError: No module named"),
        ("project/experiments.py:fails", "could not be called without arguments: ValueError: of its own"),
        ("project/experiments.py:needs", "could not be called without arguments: TypeError"),
    ],
)
def test_fault_in_the_experiment_is_told_with_its_own_traceback(here: Check, target: str, words: str) -> None:
    ended = here(target)
    assert ended.code == 2
    assert words in ended.err.splitlines()[-1]
    assert "/isometry/" not in ended.err
