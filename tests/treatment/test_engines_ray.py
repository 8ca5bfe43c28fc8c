"""A real Ray on this machine: it gives what other engines give, survives deaths, and leaves nothing running."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isometry
from isometry.adapters.target import load_experiment
from isometry.errors import IsometryError
from isometry.network.experiment import Experiment
from isometry.treatment.engines import Died, Ray, Serial
from tests.requirements import need_ray
from tests.treatment.test_engines import is_running, note_and_wait, own_process, quiet, refuse, square, threads

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[Any]:
    """The Ray that all tests of this file share, as a script would have started it."""
    need_ray()
    with pytest.MonkeyPatch.context() as patch:
        # Without a token of our own Ray writes one to the home directory.
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray

        ray.init(
            address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
        yield ray
        ray.shutdown()


def end_if_one(task: tuple[Path, int]) -> int:
    folder, number = task
    with (folder / "begun").open("a") as stream:
        stream.write(f"{number}\n")
    if number == 1:
        os._exit(3)
    return number


def visible_devices(_: int) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def where(_: int) -> Path:
    return Path.cwd()


class Unreadable:
    """Can be sent and not be read."""

    def __reduce__(self) -> Any:
        return exec, ("raise LookupError('no such data')",)

    def __call__(self, number: int) -> int:
        return number


# What it gives


def test_every_task_gives_its_own_result() -> None:
    engine = Ray(say=quiet)
    for tasks in ([], [3], [3, 1, 2, 5], [7, 7]):
        assert sorted(engine.map(square, tasks)) == sorted(Serial().map(square, tasks))
    by_hand = engine.map(lambda pair: pair[0] + pair[1], [(1, 2), (3, 4)])
    assert sorted(by_hand) == [(0, 3), (1, 7)]


def test_results_come_as_they_are_known(tmp_path: Path) -> None:
    def wait_for_the_other(number: int) -> int:
        while number and not (tmp_path / "flag").exists():
            time.sleep(0.01)
        return number

    with closing(Ray(2, say=quiet).map(wait_for_the_other, [1, 0, 0])) as results:
        assert [next(results), next(results)] == [(1, 0), (2, 0)]
        (tmp_path / "flag").touch()
        assert next(results) == (0, 1)


def test_one_worker_trains_one_after_another() -> None:
    def span(_: int) -> tuple[float, float]:
        began = time.time()
        time.sleep(0.2)
        return began, time.time()

    spans = [given for _, given in sorted(Ray(1, say=quiet).map(span, range(3))) if not isinstance(given, Died)]
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
    assert len(spans) == 3


def test_files_are_found_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(Ray(say=quiet).map(where, [0])) == [(0, tmp_path)]


def test_modules_are_found_where_the_script_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_the_script.py").write_text("def double(number):\n    return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    import beside_the_script  # type: ignore[import-not-found]

    assert list(Ray(say=quiet).map(beside_the_script.double, [4])) == [(0, 8)]


# What goes wrong


def test_what_the_function_raises_is_raised_and_says_where_it_arose() -> None:
    with pytest.raises(ValueError, match="one is refused") as caught:
        list(Ray(say=quiet).map(refuse, [0, 1, 2]))
    assert "in refuse" in caught.value.__notes__[0]


def test_process_that_dies_costs_one_task_and_is_not_tried_again(tmp_path: Path) -> None:
    results = dict(Ray(2, say=quiet).map(end_if_one, [(tmp_path, number) for number in range(4)]))
    died = Died("Ray lost its process: The worker died unexpectedly while executing this task (WorkerCrashedError)")
    assert results == {0: 0, 1: died, 2: 2, 3: 3}
    assert sorted((tmp_path / "begun").read_text().split()) == ["0", "1", "2", "3"]


def test_what_cannot_be_sent_or_read_is_told() -> None:
    lock = threading.Lock()
    with pytest.raises(IsometryError, match="cannot be sent to Ray") as caught:
        list(Ray(say=quiet).map(lambda _: lock.locked(), [1]))
    assert "inside its functions" in str(caught.value)
    with pytest.raises(IsometryError, match=r"LookupError: no such data.*same path"):
        list(Ray(say=quiet).map(Unreadable(), [1]))


def test_waiting_for_room_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        AssertionError, match=r"needs 64 CPU, 0\.5 GPU, and no machine of this Ray has more than 2 CPU, 1 GPU"
    ):
        next(Ray(cpus_per_task=64, gpus_per_task=0.5, say=quiet).map(square, [1]))


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"workers": -1}, {"cpus_per_task": -1}, {"gpus_per_task": -0.5}], ids=str
)
def test_numbers_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(IsometryError, match=next(iter(options))):
        Ray(**options, say=quiet)


def test_without_ray_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(IsometryError, match=r"pip install isometry\[ray\]"):
        Ray(say=quiet)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_cluster_that_is_not_there_is_told_at_once(here: Any, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(here, "is_initialized", lambda: False)
    began = time.monotonic()
    with pytest.raises(IsometryError, match=f"could not be reached or started at {address}.*refused"):
        list(Ray(address=address, say=quiet).map(square, [4]))
    assert time.monotonic() - began < 5


# What is left


def test_generator_that_is_closed_leaves_no_training(tmp_path: Path) -> None:
    tasks = [(tmp_path, number) for number in range(4)]
    with closing(Ray(3, say=quiet).map(note_and_wait, tasks)) as results:
        assert next(results) == (0, None)
        while not (tmp_path / "1.pid").exists() or not (tmp_path / "2.pid").exists():
            time.sleep(0.01)
    processes = [int((tmp_path / f"{number}.pid").read_text()) for number in (1, 2)]
    ends = time.monotonic() + 10
    while any(map(is_running, processes)) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(map(is_running, processes))
    assert not (tmp_path / "3.pid").exists()
    assert list(Ray(say=quiet).map(square, [2])) == [(0, 4)]


def test_ray_of_the_script_stays(here: Any) -> None:
    engine = Ray(say=quiet)
    ((_, process),) = engine.map(own_process, [0])
    engine.close()
    assert here.is_initialized()
    assert isinstance(process, int)
    assert process != os.getpid()
    assert is_running(process)


def test_all_devices_are_seen_unless_some_are_promised(here: Any) -> None:
    """The GPU is a number that Ray was given; what it does with it is to set a variable."""
    assert list(Ray(say=quiet).map(visible_devices, [0])) == [(0, os.environ.get("CUDA_VISIBLE_DEVICES"))]
    assert list(Ray(gpus_per_task=1, say=quiet).map(visible_devices, [0])) == [(0, "0")]


def test_process_has_the_threads_that_it_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert list(Ray(cpus_per_task=2, say=quiet).map(threads, [0])) == [(0, "2")]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert list(Ray(say=quiet).map(threads, [0])) == [(0, "5")]


# Studies


EXPERIMENT = """
import torch
from torch import nn

from isometry import Experiment

inputs = torch.randn(96, 8, generator=torch.Generator().manual_seed(0))


class Stack(nn.Sequential):
    def __init__(self, depth):
        super().__init__(*(part for _ in range(depth) for part in (nn.Linear(8, 8), nn.Sigmoid())), nn.Linear(8, 2))


stack = Experiment(
    lambda: Stack(6),
    (inputs, (inputs[:, 0] > 0).long()),
    nn.functional.cross_entropy,
    lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    epochs=4,
    batch_size=16,
)
"""


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Of a file, as ``isometry fix file.py:name`` loads it."""
    monkeypatch.syspath_prepend(tmp_path)  # loading does so too, for good
    monkeypatch.setitem(sys.modules, "trained_elsewhere", None)
    path = tmp_path / "trained_elsewhere.py"
    path.write_text(EXPERIMENT)
    return load_experiment(f"{path}:stack")


def test_fix_gives_what_it_gives_in_this_process_and_repeats_nothing(experiment: Experiment, tmp_path: Path) -> None:
    options = {"seeds": 2, "most": 1}
    said: list[str] = []
    alone = isometry.fix(experiment, engine="serial", folder=tmp_path / "serial", **options)
    spread = isometry.fix(experiment, engine="ray", folder=tmp_path / "ray", **options, say=said.append)
    assert spread.verdict == alone.verdict
    assert len(spread.trials) == len(alone.trials) == 2
    for ours, theirs in zip(spread.trials, alone.trials, strict=True):
        for course, other in zip(ours.courses, theirs.courses, strict=True):
            assert np.allclose(course.losses, other.losses, rtol=1e-5)  # threads may differ, and with them rounding
            assert course.run is not None
            assert course.run.is_relative_to(tmp_path / "ray")
    assert len(said) >= 4
    said.clear()
    isometry.fix(experiment, engine="ray", folder=tmp_path / "ray", **options, say=said.append)
    assert not any(", seed " in words for words in said)
    assert any("2 of 2 trainings were made before" in words for words in said)


INTERRUPTED = """
import sys, time
import ray
from pathlib import Path
from tests.treatment.test_study import *
from isometry.treatment.engines import Ray

engine = Serial() if Path("go-on").exists() else Ray(address="local", say=refuse)

class Slow(FakeTrainer):
    def train(self, edits, *, seed, run):
        if seed > 0 and not Path("go-on").exists():
            Path(f"waiting-{seed}").touch()
            time.sleep(1000)
        return super().train(edits, seed=seed, run=run)

if __name__ == "__main__":
    trainer = Slow(Path("log").resolve(), {UNTREATED: STUCK, REDRAW: GOOD})
    try:
        outcome = treat(
            trainer, seeds=[0, 1], folder=Path("study"), diagnose=diagnose, prescribe=lambda _: [plan(REDRAW)],
            engine=engine, say=lambda words: print(words, flush=True),
        )
    finally:
        print("Ray is left:", ray.is_initialized())
    print(len(outcome.trials))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_study_that_is_interrupted_ends_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """As Ctrl-C does it: all processes of the terminal get the signal.

    The script starts a Ray of its own, and defines what trains.
    """
    (tmp_path / "script.py").write_text(INTERRUPTED)
    call: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(Path.cwd())}, "text": True}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **call,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("untreated, seed 0: score 0.1")
    while not (tmp_path / "waiting-1").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert rest.startswith("Interrupted")
    assert rest.endswith("Ray is left: False\n")
    assert errors.count("Traceback") == 1, errors
    (tmp_path / "go-on").touch()
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, timeout=120, check=True, **call)
    assert "untreated: 1 of 2 trainings were made before." in done.stdout
    assert done.stdout.endswith("2\n")
    assert len((tmp_path / "log").read_text().splitlines()) == 4
