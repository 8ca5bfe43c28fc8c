"""``isometry run``: the script is left alone, and what was seen is said."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import isometry as library
from tests.cli.conftest import SCRIPTS, Ended, Recorded, run_process

TRAINS = str(SCRIPTS / "trains.py")
Call = Callable[..., Ended]


def test_sick_training_ends_with_one_and_a_verdict(sick: Recorded) -> None:
    assert sick.ended.code == 1
    script, _, verdict = sick.ended.out.partition("\n\n")
    assert script == "epoch 0 json False\nepoch 1 json False"
    assert "vanishing gradient" in verdict
    assert "report  runs/trains-1/report.html" in verdict
    assert sick.ended.err == f"isometry  watching {TRAINS}  ·  runs/trains-1\n"
    assert "<html" in (sick.folder / "report.html").read_text()


def test_run_knows_its_command_and_every_step(sick: Recorded) -> None:
    run = library.load(sick.folder)
    assert run.provenance["command"] == [TRAINS]
    assert run.history.total_steps == 20
    assert list(run.history.steps) == list(range(20))
    assert run.history.end is not None
    assert run.history.end["ending"] == "finished"


@pytest.mark.slow
def test_json_stands_alone_on_stdout(isometry: Call) -> None:
    ended = isometry("run", "--json", "--no-report", "--fail-on", "never", TRAINS, "--json", "--end", "prints")
    document = json.loads(ended.out)
    assert document["schema"] == "isometry/diagnosis/1"
    assert "vanishing_gradient" in {finding["problem"] for finding in document["findings"]}
    assert ended.code == 0
    for line in ("epoch 1 json True", "past Python", "from a child"):
        assert line in ended.err


@pytest.mark.slow
def test_failing_script_keeps_traceback_and_run(isometry: Call, tmp_path: Path) -> None:
    ended = isometry("run", TRAINS, "--end", "fails")
    plain = run_process(sys.executable, TRAINS, "--end", "fails", cwd=tmp_path)
    assert ended.code == plain.code == 1
    # PyTorch calls a module that has hooks by another function of its own, so its frames may differ; the rest may not.
    assert [line for line in ended.err.splitlines()[1:] if not line.startswith(" ")] == [
        line for line in plain.err.splitlines() if not line.startswith(" ")
    ]
    assert re.findall(r'File ".*trains.py", line .*\n.*', ended.err) == re.findall(
        r'File ".*trains.py", line .*\n.*', plain.err
    )
    assert "/isometry/" not in ended.err
    assert "vanishing gradient" in ended.out
    end = library.load(tmp_path / "runs" / "trains-1").history.end
    assert end is not None
    assert end["ending"].startswith("exception: RuntimeError")


@pytest.mark.slow
@pytest.mark.parametrize(("end", "code", "steps"), [("leaves", 3, 20), ("interrupted", 130, 20), ("vanishes", 9, 1)])
def test_exit_code_is_the_scripts_and_the_run_is_kept(
    isometry: Call, tmp_path: Path, end: str, code: int, steps: int
) -> None:
    assert isometry("run", TRAINS, "--end", end).code == code
    # a process that vanishes takes the last second with it
    assert library.load(tmp_path / "runs" / "trains-1").history.total_steps >= steps


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_leave_the_run_alone(isometry: Call, tmp_path: Path, method: str) -> None:
    ended = isometry("run", TRAINS, "--epochs", "1", "--workers", method)
    assert ended.out.count("isometry  runs/trains-1") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["trains-1"]
    assert library.load(tmp_path / "runs" / "trains-1").history.total_steps == 10


@pytest.mark.slow
def test_forked_child_neither_records_nor_reports(isometry: Call, tmp_path: Path) -> None:
    ended = isometry("run", TRAINS, "--end", "forks")
    assert ended.out.count("isometry  runs/trains-1") == 1
    assert library.load(tmp_path / "runs" / "trains-1").history.total_steps == 20


@pytest.mark.slow
def test_examples_of_the_same_network_differ_in_the_verdict(isometry: Call) -> None:
    examples = Path(__file__).parents[2] / "examples"
    sick = isometry("run", "--json", str(examples / "deep_sigmoid.py"), "--epochs", "3")
    healthy = isometry("run", "--json", str(examples / "deep_relu.py"), "--epochs", "3")
    assert "vanishing_gradient" in {finding["problem"] for finding in json.loads(sick.out)["findings"]}
    assert json.loads(healthy.out)["healthy"], healthy.out
    assert (sick.code, healthy.code) == (1, 0)


def test_script_without_a_framework_is_told_so(isometry: Call, tmp_path: Path) -> None:
    ended = isometry("run", str(SCRIPTS / "leaves.py"), "plainly")
    assert ended.code == 2
    assert ended.out == "leaving plainly\nexit handler\n"
    assert ended.err.splitlines()[1:] == [ended.err.splitlines()[-1]]
    assert "the script never used torch" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_its_own_failure_comes_before_ours(isometry: Call) -> None:
    assert isometry("run", str(SCRIPTS / "leaves.py"), "three").code == 3


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--out", "kept/here")], ids=["fresh", "named"])
def test_script_that_trains_nothing_is_told_so_and_leaves_no_run(
    isometry: Call, tmp_path: Path, options: tuple[str, ...]
) -> None:
    ended = isometry("run", *options, str(SCRIPTS / "no_training.py"))
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 2
    assert "no training step was seen" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_folder_that_was_there_before_stays(isometry: Call, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    assert isometry("run", "--out", "kept", str(SCRIPTS / "leaves.py"), "plainly").code == 2
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize(
    ("script", "code", "end"), [(("syntax_error.py",), 1, "SyntaxError"), (("leaves.py", "three"), 3, "watching")]
)
def test_script_that_ends_before_training_gets_one_calm_line(
    isometry: Call, tmp_path: Path, script: tuple[str, ...], code: int, end: str
) -> None:
    ended = isometry("run", str(SCRIPTS / script[0]), *script[1:])
    lines = ended.err.splitlines()
    assert ended.code == code
    assert end in lines[-2]
    assert lines[-1] == "isometry  nothing was recorded: the script ended before its first training step."
    assert list(tmp_path.iterdir()) == []


def test_gradients_that_are_not_watched_are_told(isometry: Call, tmp_path: Path) -> None:
    lines = ["import torch", "w = torch.ones(3, requires_grad=True)", "for _ in range(5):"]
    lines += ["    (g,) = torch.autograd.grad((w * w).sum(), [w])", "    w.data -= 0.1 * g"]
    (tmp_path / "train.py").write_text("\n".join(lines))
    ended = isometry("run", "train.py")
    assert ended.code == 2
    assert "gradients were taken 5 times by torch.autograd.grad" in ended.err
    assert "call backward() on the loss" in ended.err and "no backward pass" not in ended.err


def test_fault_of_ours_in_the_script_keeps_its_traceback(isometry: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import isometry\nisometry.watch('no model')\n")
    ended = isometry("run", "train.py")
    assert ended.code == 1
    assert 'train.py", line 2' in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "missing.py"), "There is no file missing.py"),
        (("run", "."), ". is a folder"),
        (("run", "-m", "no.such.module"), "There is no module no.such.module"),
        (("run", "--out", "/proc/run", TRAINS), "cannot be made"),
        (("run", "--out", str(SCRIPTS), TRAINS), "exists and is not empty"),
        (("run", "--bogus", TRAINS), "No such option: --bogus"),
        (("run", "--budget", "7", TRAINS), "isometry: --budget 7: a share of step time is needed"),
        (("run", "--budget", "nan", TRAINS), "isometry: --budget nan: a share"),
        (("run", "--budget", "much", TRAINS), "isometry: --budget much: a share"),
        (("run", "--every", "0", TRAINS), "isometry: --every 0: a whole number of steps is needed"),
        (("run", "--every", "2.5", TRAINS), "isometry: --every 2.5: a whole number"),
        (("run", "--fail-on", "always", TRAINS), "isometry: --fail-on always: one of note, slows, harms, stops, never"),
        (("run",), "Missing argument 'SCRIPT'"),
    ],
)
def test_misuse_is_one_message(command: Call, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = command(*arguments)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert "Value error" not in ended.err
    assert "watching" not in ended.err
    assert ended.out == ""
    assert not list(tmp_path.iterdir())


def test_usage_reads_well(command: Call) -> None:
    assert re.search(r"Usage: isometry run \[OPTIONS\] \{?SCRIPT\}? \[ARGUMENTS\]\.\.\.\n", command("run").err)


def test_second_run_gets_a_folder_of_its_own(isometry: Call, tmp_path: Path) -> None:
    (tmp_path / "runs" / "leaves-1").mkdir(parents=True)
    assert "runs/leaves-2" in isometry("run", str(SCRIPTS / "leaves.py"), "zero").err
