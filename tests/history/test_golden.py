"""A run that version 1 of the format wrote: every later version must read these very bytes."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from isometry.history.store import open_run
from isometry.network.signals import Signal

GOLDEN = Path(__file__).parent.parent / "golden" / "run-v1"


def test_a_run_of_format_1_opens():
    run = open_run(GOLDEN)
    assert run.architecture.names == ("fc1", "fc2", "head")
    assert run.architecture["fc1"].activation == "tanh"
    assert run.architecture["head"].output
    assert run.provenance["command"] == ["train.py", "--epochs", "3"]
    summary = run.summary()
    assert (summary["name"], summary["steps"], summary["recorded"]) == ("golden", 9, 4)
    assert (summary["cost_share"], summary["ending"], summary["notes"]) == (0.01, "exception: ValueError", [])


def test_its_columns_are_what_they_were():
    history, nan = open_run(GOLDEN).history, math.nan
    np.testing.assert_array_equal(history.steps, [0, 1, 2, 8])
    expected = [[1e-30, nan, 1e30], [2e-30, nan, 2e30], [3e-30, nan, 3e30], [1e-200, 0.1, 1.0]]
    np.testing.assert_allclose(history[Signal.DELTA, "rms"], expected, rtol=1e-7)
    np.testing.assert_array_equal(history[Signal.DELTA, "count"], [[32, 0, 32]] * 3 + [[2**33, 32, 32]])
    np.testing.assert_array_equal(history[Signal.DELTA, "nan"][:, 2], [0, 1, 2, 0])
    np.testing.assert_array_equal(history[Signal.PRE_ACTIVATION, "spread"][3], [0.5, nan, 0.25])
    assert (Signal.WEIGHT, "rms") not in history


def test_its_scalars_and_events_are_what_they_were():
    history = open_run(GOLDEN).history
    np.testing.assert_array_equal(history.scalars["loss"].steps, [0, 1, 2, 8])
    np.testing.assert_array_equal(history.scalars["loss"].values, [2.5, math.nan, math.inf, -math.inf])
    assert history.events("optimizer")[0]["betas"] == [0.9, 0.999]
    assert history.events("histogram")[0]["counts"] == [1, 0, 31]
    assert history.events("non_finite")[0]["producer"] is True
    assert history.events("trouble")[0]["words"] == "nan"
    assert history.events("loss_kind")[0]["kind"] == "cross_entropy"


def test_the_documented_way_to_read_it_works(monkeypatch, tmp_path, capsys):
    page = (GOLDEN.parent.parent.parent / "docs" / "run-format.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "runs").mkdir()
    shutil.copytree(GOLDEN, tmp_path / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)
    np.testing.assert_array_equal(found["records"]["step"], [0, 1, 2])
    np.testing.assert_allclose(found["records"]["delta.rms"][:, 0], [1e-30, 2e-30, 3e-30], rtol=1e-7)
    assert capsys.readouterr().out.startswith("[0 1 2]")
