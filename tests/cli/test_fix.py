"""``isometry fix`` and ``isometry remedies``."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isometry.cli.values import report_place
from isometry.errors import IsometryError
from isometry.treatment.remedy import remedies
from tests.cli.conftest import Ended

Call = Callable[..., Ended]

EXPERIMENT = """
import torch
from torch import nn

from isometry import Experiment

generator = torch.Generator().manual_seed(0)
inputs = torch.randn(192, 6, generator=generator)
targets = (inputs[:, 0] * inputs[:, 1] > 0).long()


def build():
    layers = [part for _ in range(8) for part in (nn.Linear(20, 20), ACTIVATION())]
    return nn.Sequential(nn.Linear(6, 20), ACTIVATION(), *layers, nn.Linear(20, 2))


def optimizer(parameters):
    return torch.optim.Adam(parameters, lr=4e-3)


deep = Experiment(build, (inputs, targets), nn.functional.cross_entropy, optimizer, epochs=15, batch_size=24)
"""


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    """The file of an experiment that needs a cure."""
    path = tmp_path / "mine.py"
    path.write_text("from torch.nn import Sigmoid as ACTIVATION\n" + EXPERIMENT)
    return path


@pytest.mark.slow
def test_an_experiment_is_fixed_and_the_report_written(isometry: Call, sick: Path, tmp_path: Path) -> None:
    ended = isometry("fix", "mine.py:deep", "--seeds", "2", "--most", "3", "--out", "study", "--report", "fix.html")
    assert ended.code in (0, 1), ended.err
    assert "before    vanishing gradient" in ended.out
    assert "untreated" in ended.out
    assert "fixing mine.py:deep" in ended.err
    assert (tmp_path / "fix.html").stat().st_size > 0
    again = isometry("fix", "mine.py:deep", "--seeds", "2", "--most", "3", "--out", "study", "--json")
    facts = json.loads(again.out)
    assert facts["schema"] == "isometry/outcome/1"
    assert "were made before" in again.err
    assert again.code == (0 if facts["verdict"] in ("helped", "nothing to fix") else 1)


SLOW = """
import os, sys, time
from pathlib import Path
import torch

started = Path(sys.argv[1])
(started / str(os.getpid())).touch()
net = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(5):
    net(torch.randn(8, 3)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
while len(list(started.iterdir())) > 1:  # all but the first
    time.sleep(0.1)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_trainings_and_keeps_what_is_done(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    started = tmp_path.with_name(f"{tmp_path.name}-started")
    started.mkdir()
    command = [sys.executable, "-m", "isometry", "fix", "--out", "study", "slow.py", str(started)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 150
    while len(list(started.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(sent)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert told.splitlines()[-1].strip().startswith("Interrupted. What had ended is kept in")
    assert "Aborted" not in told
    assert len(list((tmp_path / "study" / "courses").glob("*-seed-0.json"))) == 1
    for child in started.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(child.name), 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train.py",), "There is no file train.py in"),
        (("mine.py:shallow",), "There is no shallow in mine.py. Name one of these: mine.py:deep."),
        (("mine.py:deep", "--effects", "surgery"), "a list of some of retunes, reinitialises, restructures"),
        (("mine.py:deep", "--engine", "cluster"), "engine='cluster': one of local, serial, ray"),
        (("mine.py:deep", "--report", "fix.doc"), "--report fix.doc: a file that ends in one of .html"),
        (("mine.py:deep", "--report", "mine.py/fix.html"), "mine.py is a file, so nothing can be put in it."),
    ],
)
def test_misuse_is_one_message(isometry: Call, sick: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = isometry("fix", *arguments)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert "untreated" not in ended.err, "found out before anything is trained"


def test_a_report_that_could_not_be_written_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    assert report_place(str(locked / "new" / "fix.html")) == locked / "new" / "fix.html"
    monkeypatch.setattr("os.access", lambda place, mode: place != locked)  # root may write everywhere
    with pytest.raises(IsometryError, match="locked cannot be written to"):
        report_place(str(locked / "new" / "fix.html"))
    (tmp_path / "note.txt").touch()
    with pytest.raises(IsometryError, match=r"note\.txt is a file"):
        report_place(str(tmp_path / "note.txt" / "deeper" / "fix.html"))


def test_remedies_are_listed_with_what_they_cost(command: Call) -> None:
    ended = command("remedies")
    assert ended.code == 0
    for remedy in remedies():
        assert f"{remedy.name} " in ended.out
        assert str(remedy.effect) in ended.out


def test_one_remedy_has_a_page_and_a_problem_has_its_remedies(command: Call) -> None:
    page = command("remedies", "insert-norm").out
    assert page.startswith("insert-norm  ·  restructures")
    assert "Treats: " in page
    facts = json.loads(command("remedies", "learning_rate_too_high", "--json").out)
    assert "lower-rate" in {remedy["name"] for remedy in facts}


def test_an_unknown_remedy_is_misuse(command: Call) -> None:
    ended = command("remedies", "prayer")
    assert ended.code == 2
    assert "No remedy is called 'prayer'" in ended.err
