import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from isometry.history.recorder import Recorder, fresh_folder
from isometry.history.store import open_run
from isometry.network.signals import Signal
from tests.history.folders import COLUMNS, DELTA_COUNT, DELTA_RMS, WEIGHT_RMS, network, row, write_run


@pytest.fixture
def recorder(tmp_path):
    with Recorder(tmp_path / "run", provenance={"seed": 7, "python": "3.12"}) as recorder:
        recorder.begin(network("a", "b", "c"), COLUMNS)
        yield recorder


def test_what_is_written_is_read_back(tmp_path):
    run = open_run(write_run(tmp_path / "deep" / "run"))
    np.testing.assert_array_equal(run.history.steps, range(5))
    np.testing.assert_allclose(run.history[DELTA_RMS], [row(step)[DELTA_RMS] for step in range(5)], rtol=1e-7)
    np.testing.assert_array_equal(run.history[DELTA_COUNT][:, 0], [1, 2, 3, 4, 5])
    np.testing.assert_allclose(run.history.scalars["loss"].values, [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert run.history.events("alarm") == ({"step": 2, "words": "the loss rose"},)
    assert run.history.end["ending"] == "finished"
    assert run.architecture == network("a", "b", "c")
    assert run.provenance == {"seed": 7}
    assert run.history.notes == ()


def test_a_column_that_no_step_filled_is_not_there(tmp_path):
    history = open_run(write_run(tmp_path / "run")).history
    assert WEIGHT_RMS not in history
    assert set(history.columns) == {DELTA_RMS, DELTA_COUNT}


def test_a_column_left_out_once_is_nan_there(recorder):
    recorder.record(0, {DELTA_RMS: np.ones(3)})
    recorder.record(1, {WEIGHT_RMS: np.ones(3), DELTA_COUNT: np.ones(3)})
    history = open_run(recorder.folder).history
    np.testing.assert_array_equal(history[DELTA_RMS], [[1, 1, 1], [np.nan] * 3])
    np.testing.assert_array_equal(history[DELTA_COUNT], [[0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("exponent", [-30, -12, 0, 12, 30])
def test_values_keep_their_size(tmp_path, exponent, double):
    values = np.array([1.0, -2.0, 3.3]) * 10.0**exponent
    with Recorder(tmp_path / "run", provenance={}) as recorder:
        recorder.begin(network("a", "b", "c"), COLUMNS, double=double)
        recorder.record(0, {DELTA_RMS: values})
    found = open_run(tmp_path / "run").history[DELTA_RMS][0]
    np.testing.assert_allclose(found, values, rtol=1e-15 if double else 1e-7)


def test_double_precision_reaches_beyond_single(tmp_path):
    with Recorder(tmp_path / "run", provenance={}) as recorder:
        recorder.begin(network("a"), COLUMNS, double=True)
        recorder.record(0, {DELTA_RMS: np.array([1e-200])})
    assert open_run(tmp_path / "run").history[DELTA_RMS][0, 0] == 1e-200


def test_counts_beyond_32_bits_open_a_wider_file(recorder):
    recorder.record(0, row(0))
    recorder.record(1, {DELTA_COUNT: np.array([5e9, 1, 2])})
    recorder.record(2, row(2))
    history = open_run(recorder.folder).history
    np.testing.assert_array_equal(history[DELTA_COUNT], [[1, 1, 1], [5e9, 1, 2], [3, 3, 3]])
    assert (recorder.folder / "steps-0-1.bin").exists()


def test_a_grown_network_continues_in_a_new_file(recorder):
    recorder.record(0, row(0))
    recorder.begin(network("stem", "a", "b", "head", "c"), [*COLUMNS, (Signal.UPDATE, "rms")])
    recorder.record(4, {DELTA_RMS: np.arange(5.0), (Signal.UPDATE, "rms"): np.ones(5)})
    run = open_run(recorder.folder)
    assert run.architecture.names == ("stem", "a", "b", "head", "c")
    np.testing.assert_array_equal(run.history.steps, [0, 4])
    nan = np.nan
    np.testing.assert_allclose(run.history[DELTA_RMS], [[nan, 0, 0.1, nan, 0.2], [0, 1, 2, 3, 4]], rtol=1e-7)
    np.testing.assert_array_equal(run.history[DELTA_COUNT][0], [0, 1, 1, 0, 1])
    np.testing.assert_array_equal(np.isnan(run.history[Signal.UPDATE, "rms"][0]), True)


def test_a_network_that_shrank_keeps_what_is_left_of_its_past(recorder):
    recorder.record(0, row(0))
    recorder.begin(network("c"), COLUMNS)
    recorder.record(1, row(1, layers=1))
    np.testing.assert_allclose(open_run(recorder.folder).history[DELTA_RMS], [[0.2], [1.0]], rtol=1e-7)


def test_the_same_step_recorded_twice_counts_as_written_last(recorder):
    for step, value in [(0, 1.0), (1, 2.0), (1, 3.0), (0, 4.0)]:
        recorder.record(step, {DELTA_RMS: np.full(3, value)})
    history = open_run(recorder.folder).history
    np.testing.assert_array_equal(history.steps, [0, 1])
    np.testing.assert_array_equal(history[DELTA_RMS][:, 0], [4, 3])


def test_numbers_that_json_lacks_come_back(recorder):
    for step, value in enumerate([1.0, math.nan, math.inf, -math.inf]):
        recorder.scalar(step, "loss", np.float32(value))
    recorder.event("trouble", np.int64(3), words="nan", value=np.float32("nan"), pair=(1, -math.inf))
    history = open_run(recorder.folder).history
    np.testing.assert_array_equal(history.scalars["loss"].values, [1, math.nan, math.inf, -math.inf])
    (event,) = history.events("trouble")
    assert event["words"] == "nan"
    assert math.isnan(event["value"])
    assert event["pair"] == [1, -math.inf]


def test_an_event_may_have_a_kind_of_its_own(recorder):
    recorder.event("loss_kind", 0, kind="cross_entropy", name="loss")
    assert open_run(recorder.folder).history.events("loss_kind")[0]["kind"] == "cross_entropy"


def test_every_line_of_events_is_strict_json(recorder):
    recorder.scalar(0, "loss", math.nan)
    recorder.event("trouble", 0, words="a\nb", value=math.inf)

    def refuse(constant):
        raise AssertionError(constant)

    for line in (recorder.folder / "events.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_run_is_readable_while_it_is_written(recorder):
    folder = recorder.folder
    assert len(open_run(folder).history.steps) == 0
    for step in range(20):
        recorder.record(step, row(step))
        recorder.scalar(step, "loss", 1.0)
        history = open_run(folder).history
        assert len(history.steps) == step + 1
        assert history[DELTA_RMS].shape == (step + 1, 3)
    recorder.flush()
    assert len(open_run(folder).history.scalars["loss"]) == 20


def test_a_history_read_earlier_stays_as_it_was(recorder):
    recorder.record(0, row(0))
    earlier = open_run(recorder.folder).history
    recorder.record(1, row(1))
    assert earlier[DELTA_RMS].shape == (1, 3)


def test_slow_steps_have_their_scalars_written_at_once(recorder):
    recorder.scalar(0, "loss", 1.0)
    time.sleep(0.06)
    recorder.scalar(1, "loss", 1.0)
    assert len(open_run(recorder.folder).history.scalars["loss"]) == 2


def test_fast_steps_have_their_scalars_written_in_batches(recorder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    written = []
    for step in range(3000):
        now[0] += 0.01
        recorder.scalar(step, "loss", 1.0)
        scalars = open_run(recorder.folder).history.scalars if step % 97 == 0 else {}
        if "loss" in scalars:
            written.append(step + 1 - len(scalars["loss"]))
    assert max(written[1:]) <= 101  # a second's worth
    lines = (recorder.folder / "events.jsonl").read_text().splitlines()
    assert len(lines) < 40


def test_a_thousand_values_in_no_time_are_written_by_number(recorder, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    for step in range(1000):
        recorder.scalar(step, "loss", 1.0)
    assert len(open_run(recorder.folder).history.scalars["loss"]) >= 1000 - 256


def test_an_event_takes_the_waiting_scalars_with_it(recorder):
    recorder.scalar(0, "loss", 1.0)
    recorder.event("alarm", 0, words="x")
    assert len(open_run(recorder.folder).history.scalars["loss"]) == 1


def test_closing_twice_is_fine_and_writing_afterwards_is_not(recorder):
    recorder.scalar(0, "loss", 1.0)
    recorder.close()
    recorder.close()
    assert len(open_run(recorder.folder).history.scalars["loss"]) == 1
    with pytest.raises(ValueError, match="closed"):
        recorder.record(0, row(0))


def test_recording_before_beginning_says_so(tmp_path):
    with Recorder(tmp_path / "run", provenance={}) as recorder, pytest.raises(ValueError, match="before begin"):
        recorder.record(0, {})


def test_a_folder_with_a_run_is_never_written_into(tmp_path):
    folder = write_run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError):
        Recorder(folder, provenance={})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_fresh_folder_is_the_next_free_one(tmp_path):
    assert fresh_folder(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    assert fresh_folder(tmp_path / "run") == tmp_path / "run"
    write_run(tmp_path / "run")
    write_run(tmp_path / "run-2")
    assert fresh_folder(tmp_path / "run") == tmp_path / "run-3"


def test_ranks_share_a_folder_and_no_file(tmp_path):
    recorders = [Recorder(tmp_path / "run", provenance={}, rank=rank) for rank in range(2)]
    for recorder in recorders:
        recorder.begin(network("a"), COLUMNS)
        recorder.record(recorder.rank, row(0, layers=1))
        recorder.close()
    np.testing.assert_array_equal(open_run(tmp_path / "run").history.steps, [0])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "run.json", "steps-0.bin", "events.jsonl", "run-1.json", "steps-1.bin", "events-1.jsonl",
    }  # fmt: skip


FULL = """
import resource, sys
from pathlib import Path
from tests.history.folders import *
folder = Path(sys.argv[1])
recorder = Recorder(folder, provenance={})
recorder.begin(network("a", "b", "c"), COLUMNS)
size = max(path.stat().st_size for path in folder.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, size + 1000))
faults = 0
for step in range(100):
    try:
        recorder.record(step, row(step))
        recorder.event("alarm", step, words="x" * 50)
    except OSError as fault:
        faults += 1
assert faults > 10
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits on file sizes are POSIX's")
def test_a_full_disk_is_an_oserror_and_leaves_whole_records(tmp_path):
    subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "run")], check=True)
    run = open_run(tmp_path / "run")
    assert len(run.history.steps) > 5
    assert run.history.notes == ()
    assert all(event["words"] == "x" * 50 for event in run.history.events("alarm"))


ENDLESS = """
import sys, time
from pathlib import Path
from tests.history.folders import *
recorder = Recorder(Path(sys.argv[1]), provenance={})
recorder.begin(network("a", "b", "c"), COLUMNS)
step = 0
while True:
    recorder.record(step, row(step))
    recorder.scalar(step, "loss", float(step))
    print(step, time.monotonic(), flush=True)
    step += 1
    time.sleep(0.002)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX's")
def test_kill_9_loses_no_record_and_at_most_a_second_of_scalars(tmp_path):
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(700)]
        process.kill()
        lines += process.stdout.readlines()
    told = [line.split() for line in lines if line.endswith("\n")]
    times = {int(step): float(moment) for step, moment in told}
    history = open_run(tmp_path / "run").history
    last = max(times)
    assert history.steps[-1] >= last
    np.testing.assert_array_equal(history.steps, range(len(history.steps)))
    assert np.isfinite(history[DELTA_RMS]).all()
    kept = int(history.scalars["loss"].steps[-1])
    assert times[last] - times[min(kept, last)] <= 1.1
    assert history.end is None
