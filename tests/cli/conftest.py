"""The command line as a user meets it: in a process of its own, in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from isometry.__main__ import main

SCRIPTS = Path(__file__).parent.parent / "scripts"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def run_process(*command: str, cwd: Path) -> Ended:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def isometry(tmp_path: Path) -> Callable[..., Ended]:
    """``isometry("run", "train.py")`` in an empty folder and a process of its own."""

    def call(*arguments: str) -> Ended:
        return run_process(sys.executable, "-m", "isometry", *arguments, cwd=tmp_path)

    return call


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """The same in this process: seconds faster, for whatever runs no script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["isometry", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
        out, err = capsys.readouterr()
        assert isinstance(leaving.value.code, int)
        return Ended(leaving.value.code, out, err)

    return call


@dataclass(frozen=True)
class Recorded:
    folder: Path
    ended: Ended


@pytest.fixture(scope="session")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A short training of a deep sigmoid network, watched once for all tests that only read it."""
    place = tmp_path_factory.mktemp("sick")
    ended = run_process(sys.executable, "-m", "isometry", "run", "--every", "1", str(SCRIPTS / "trains.py"), cwd=place)
    return Recorded(place / "runs" / "trains-1", ended)
