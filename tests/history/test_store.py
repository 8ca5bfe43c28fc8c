import json
import os
import pickle
import shutil
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isometry.errors import IsometryError, NotRecorded
from isometry.history import table as table_module
from isometry.history.recorder import Recorder
from isometry.history.store import open_run
from isometry.history.table import Table
from tests.history.folders import COLUMNS, DELTA_COUNT, DELTA_RMS, network, row, write_run


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A run that no test damages."""
    return write_run(tmp_path_factory.mktemp("sound") / "run")


def open_table(folder):
    return Table.of(folder / "steps-0.bin")


def rewrite(folder, change):
    path = folder / "run.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


# ---- torn tails


def test_a_tail_torn_at_any_byte_is_cut_off(sound, tmp_path):
    whole = (sound / "steps-0.bin").read_bytes()
    table = open_table(sound)
    folder = shutil.copytree(sound, tmp_path / "run")
    for length in range(table.offset, len(whole)):
        (folder / "steps-0.bin").write_bytes(whole[:length])
        history = open_run(folder).history
        complete = (length - table.offset) // table.layout.record_bytes
        np.testing.assert_array_equal(history.steps, range(complete))
        assert history.notes == ()
        if complete:
            np.testing.assert_array_equal(history[DELTA_COUNT][:, 0], np.arange(complete) + 1)


def test_events_torn_at_any_byte_lose_only_the_last_line(sound, tmp_path):
    whole = (sound / "events.jsonl").read_bytes()
    folder = shutil.copytree(sound, tmp_path / "run")
    for length in range(len(whole) + 1):
        (folder / "events.jsonl").write_bytes(whole[:length])
        history = open_run(folder).history
        assert history.notes == ()
        kept = len(history.scalars) + len(history.events("alarm")) + len(history.events("end"))
        lines = whole[:length].count(b"\n")
        assert kept in (lines, lines + 1)  # a line that lacks only its end is whole


def test_a_last_record_of_the_right_size_and_wrong_content_is_a_torn_tail(folder):
    path = folder / "steps-0.bin"
    content = bytearray(path.read_bytes())
    content[-40:] = bytes(40)
    path.write_bytes(content)
    history = open_run(folder).history
    np.testing.assert_array_equal(history.steps, range(4))
    assert history.notes == ()


# ---- damage


def test_a_damaged_record_in_the_middle_is_left_out_and_told(folder):
    path, table = folder / "steps-0.bin", open_table(folder)
    content = bytearray(path.read_bytes())
    content[table.offset + 2 * table.layout.record_bytes + 30] ^= 4
    path.write_bytes(content)
    history = open_run(folder).history
    np.testing.assert_array_equal(history.steps, [0, 1, 3, 4])
    np.testing.assert_array_equal(history[DELTA_COUNT][:, 0], [1, 2, 4, 5])
    assert history.notes == ("steps-0.bin: 1 of 5 records do not match their checksum and were left out.",)


def test_a_damaged_line_of_events_is_left_out_and_told(folder):
    path = folder / "events.jsonl"
    path.write_bytes(b'{"event":"alarm","step":1,"wo\n' + b"\xff\xfe\n" + path.read_bytes())
    history = open_run(folder).history
    assert len(history.events("alarm")) == 1
    assert history.notes == ("events.jsonl: 2 lines are damaged and were left out.",)


@settings(max_examples=3 * settings().max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(["steps-0.bin", "events.jsonl", "run.json"]), place=st.floats(0, 1), bit=st.integers(0, 7))
def test_any_flipped_bit_gives_one_clear_error_or_a_true_rest(sound, tmp_path, file, place, bit):
    folder = shutil.copytree(sound, tmp_path / "run", dirs_exist_ok=True)
    content = bytearray((sound / file).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1 << bit
    (folder / file).write_bytes(content)
    whole = open_run(sound).history
    try:
        history = open_run(folder).history
    except IsometryError as error:
        assert file in str(error)
        return
    if file == "steps-0.bin":
        kept = np.isin(whole.steps, history.steps)
        assert kept.sum() >= 4
        for column in whole.columns:
            np.testing.assert_array_equal(history[column], whole[column][kept])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(["steps-0.bin", "events.jsonl", "run.json"]), content=st.binary(max_size=300))
def test_any_garbage_gives_one_clear_error_or_none(sound, tmp_path, file, content):
    folder = shutil.copytree(sound, tmp_path / "run", dirs_exist_ok=True)
    (folder / file).write_bytes(content)
    try:
        open_run(folder)
    except IsometryError as error:
        assert file in str(error)


# ---- folders that are no runs


def test_a_missing_folder_says_what_to_give(tmp_path):
    with pytest.raises(NotRecorded, match=r"nowhere: no such folder\. Give the folder"):
        open_run(tmp_path / "nowhere")


def test_an_empty_folder_says_what_it_lacks(tmp_path):
    with pytest.raises(NotRecorded, match=r"no run\.json in it"):
        open_run(tmp_path)


def test_a_file_is_no_folder(sound):
    with pytest.raises(NotRecorded, match="no such folder"):
        open_run(sound / "run.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (pickle.dumps({"schema": "isometry/run/1"}), "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[" * 600 + b"]" * 600, "JSON|schema"),
        (b"1" * 10_000, "no JSON"),
        (b"[]", "schema"),
        (b"{}", "schema"),
        (b'{"schema": 1}', "schema"),
        (b'{"schema": "isometry/diagnosis/1"}', "schema"),
        (b'{"schema": "isometry/run/2"}', "Upgrade isometry"),
        (b'{"schema": "isometry/run/1"}', "provenance"),
        (b'{"schema": "isometry/run/1", "provenance": {}}', "architecture"),
    ],
)
def test_a_run_json_that_is_none_says_why(folder, content, reason):
    (folder / "run.json").write_bytes(content)
    with pytest.raises(NotRecorded, match=reason) as caught:
        open_run(folder)
    assert "run.json" in str(caught.value)


@pytest.mark.parametrize(
    "architecture",
    [
        None,
        [],
        {},
        {"layers": None},
        {"layers": {"a": 1}},
        {"layers": ["a"]},
        {"layers": [{}]},
        {"layers": [{"name": 5, "kind": "linear", "type": "Linear"}]},
        {"layers": [{"name": "a", "kind": "linear", "type": "Linear", "fan_in": "many"}]},
        {"layers": [{"name": "a", "kind": "linear", "type": "Linear", "inputs": [1]}]},
        {"layers": [{"name": "a", "kind": "linear", "type": "Linear", "weight_shape": 5}]},
        {"layers": [{"name": "a", "kind": "linear", "type": "Linear"}] * 2},
        {"layers": [], "model": 5},
        {"layers": [], "notes": 5},
        {"layers": [], "notes": [5]},
    ],
)
def test_an_architecture_that_is_none_says_so(folder, architecture):
    rewrite(folder, lambda document: document.update(architecture=architecture))
    with pytest.raises(NotRecorded, match=r"run\.json: its architecture"):
        open_run(folder)


def test_fields_of_later_versions_are_passed_over(folder):
    def change(document):
        document["novelty"] = 1
        document["architecture"]["layers"][0]["novelty"] = 1

    rewrite(folder, change)
    assert open_run(folder).architecture.names == ("a", "b", "c")


@pytest.mark.parametrize("files", [None, [], "steps-0.bin", [5], [["steps-0.bin"]]])
def test_files_must_be_named(folder, files):
    rewrite(folder, lambda document: document.update(files=files))
    with pytest.raises(NotRecorded, match=r"run\.json: names"):
        open_run(folder)


@pytest.mark.parametrize(
    "name", ["../run/steps-0.bin", "/etc/passwd", "steps-0.bin/../steps-0.bin", "run.json", "C:x", ""]
)
def test_files_outside_the_folder_are_not_touched(folder, name):
    rewrite(folder, lambda document: document.update(files=[name]))
    with pytest.raises(NotRecorded, match="Do not trust this folder"):
        open_run(folder)


def test_a_file_named_twice_is_refused(folder):
    rewrite(folder, lambda document: document.update(files=["steps-0.bin"] * 2))
    with pytest.raises(NotRecorded, match="twice"):
        open_run(folder)


def test_a_missing_steps_file_is_named(folder):
    (folder / "steps-0.bin").unlink()
    with pytest.raises(NotRecorded, match=r"steps-0\.bin: missing"):
        open_run(folder)


def test_an_empty_steps_file_is_named(folder):
    (folder / "steps-0.bin").write_bytes(b"")
    with pytest.raises(NotRecorded, match=r"steps-0\.bin: 0 bytes without a header"):
        open_run(folder)


def test_steps_of_another_run_are_refused(folder, tmp_path):
    with Recorder(tmp_path / "other", provenance={}) as recorder:
        recorder.begin(network("x", "y"), COLUMNS)
    shutil.copy(tmp_path / "other" / "steps-0.bin", folder)
    with pytest.raises(NotRecorded, match="holds other layers than"):
        open_run(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
@pytest.mark.parametrize("file", ["run.json", "steps-0.bin"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder, file):
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(NotRecorded, match=file.replace(".", r"\.")):
        open_run(folder)


@pytest.mark.skipif(os.name != "posix", reason="files with holes")
def test_a_terabyte_of_zeros_is_not_read(folder):
    with (folder / "steps-0.bin").open("r+b") as stream:
        stream.truncate(2**40)
    history = open_run(folder).history
    np.testing.assert_array_equal(history.steps, range(5))
    assert "do not match their checksum" in history.notes[0]


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {},
        {"event": 5, "step": 1},
        {"event": "alarm"},
        {"event": "alarm", "step": -1},
        {"event": "alarm", "step": True},
        {"event": "alarm", "step": 10**30},
        {"event": "alarm", "step": 1.5},
        {"event": "alarm", "step": 1, "words": 5},
        {"event": "end", "step": 1, "steps": "many"},
        {"event": "histogram", "step": 1, "counts": "many"},
        {"event": "histogram", "step": 1, "counts": [-1]},
        {"event": "histogram", "step": 1, "counts": [], "lowest": "x"},
        {"event": "through_time", "step": 1, "rms": ["x"]},
        {"event": "no_gradient", "step": 1, "parameters": [5]},
        {"event": "no_gradient", "step": 1, "parameters": [{"name": 5}]},
        {"event": "scalars", "name": "loss", "steps": [1], "values": []},
        {"event": "scalars", "name": "loss", "steps": [1], "values": ["x"]},
        {"event": "scalars", "name": "loss", "steps": ["x"], "values": [1]},
        {"event": "scalars", "name": 5, "steps": [1], "values": [1]},
        {"event": "scalars", "name": "loss", "steps": 5, "values": 5},
    ],
)
def test_an_event_that_is_none_is_left_out_and_told(folder, entry):
    with (folder / "events.jsonl").open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
    history = open_run(folder).history
    assert history.notes == ("events.jsonl: 1 lines are damaged and were left out.",)
    assert len(history.scalars["loss"]) == 5


def test_a_run_without_events_has_none(folder):
    (folder / "events.jsonl").unlink()
    history = open_run(folder).history
    assert dict(history.scalars) == {}
    assert history.end is None


def test_a_run_that_is_gone_says_so_when_a_column_is_read(folder):
    history = open_run(folder).history
    shutil.rmtree(folder)
    with pytest.raises(NotRecorded, match="can no longer be read"):
        history[DELTA_RMS]


def test_a_run_that_shrank_says_so_when_a_column_is_read(folder):
    history = open_run(folder).history
    with (folder / "steps-0.bin").open("r+b") as stream:
        stream.truncate(open_table(folder).offset + 10)
    with pytest.raises(NotRecorded, match="can no longer be read"):
        history[DELTA_RMS]


# ---- windows


@pytest.mark.parametrize("window", [1, 500, 10_000])
def test_reading_in_windows_changes_nothing(sound, monkeypatch, window):
    whole = open_run(sound).history[DELTA_RMS]
    monkeypatch.setattr(table_module, "WINDOW_BYTES", window)
    np.testing.assert_array_equal(open_run(sound).history[DELTA_RMS], whole)


@pytest.mark.parametrize("window", [1, 120, 10_000])
def test_damage_across_windows_is_left_out(folder, monkeypatch, window):
    path, table = folder / "steps-0.bin", open_table(folder)
    content = bytearray(path.read_bytes())
    for damaged in (0, 3):
        content[table.offset + damaged * table.layout.record_bytes + 30] ^= 4
    path.write_bytes(content)
    monkeypatch.setattr(table_module, "WINDOW_BYTES", window)
    history = open_run(folder).history
    np.testing.assert_array_equal(history.steps, [1, 2, 4])
    np.testing.assert_array_equal(history[DELTA_COUNT][:, 0], [2, 3, 5])


@pytest.mark.parametrize("few", [1, 10**9])
@pytest.mark.parametrize("rows", [[0], [4, 0, 0, 2], slice(1, 4), [], slice(None)])
def test_rows_are_read_as_from_the_whole_column(tmp_path, monkeypatch, rows, few):
    with Recorder(tmp_path / "run", provenance={}) as recorder:
        recorder.begin(network("a", "b", "c"), COLUMNS)
        for step in (0, 1):
            recorder.record(step, row(step))
        recorder.begin(network("stem", "a", "b", "c"), COLUMNS)
        for step in (2, 1, 3, 4):
            recorder.record(step, row(step, layers=4))
    monkeypatch.setattr(table_module, "FEW", few)
    for column in (DELTA_RMS, DELTA_COUNT):
        whole = open_run(tmp_path / "run").history[column]
        np.testing.assert_array_equal(open_run(tmp_path / "run").history.rows(column, rows), whole[rows])
    np.testing.assert_array_equal(np.isnan(open_run(tmp_path / "run").history[DELTA_RMS][:, 0]), [1, 0, 0, 0, 0])


def test_records_with_true_checksums_in_wrong_order_are_sorted(folder):
    path, table = folder / "steps-0.bin", open_table(folder)
    content, size = path.read_bytes(), table.layout.record_bytes
    records = [content[start : start + size] for start in range(table.offset, len(content), size)]
    path.write_bytes(content[: table.offset] + b"".join(records[::-1]))
    history = open_run(folder).history
    np.testing.assert_array_equal(history.steps, range(5))
    np.testing.assert_allclose(history[DELTA_RMS], [row(step)[DELTA_RMS] for step in range(5)], rtol=1e-7)


def test_the_format_is_what_the_documentation_says(folder):
    """Read by hand, with nothing of ours, as an outside program would."""
    content = (folder / "steps-0.bin").read_bytes()
    line, _, rest = content.partition(b"\n")
    header = json.loads(line)
    width = {"<f4": 4, "<f8": 8, "<u4": 4, "<u8": 8}
    layers, columns, size = len(header["layers"]), header["columns"], header["record_bytes"]
    start = 16 + -(-len(columns) // 64) * 8
    offsets = {}
    for signal, statistic, kind in columns:
        offsets[signal, statistic] = (start, kind)
        start += layers * width[kind]
    assert -(-start // 8) * 8 == size
    for step in range(5):
        record = rest[step * size : (step + 1) * size]
        assert record[:4] == b"ISO1"
        assert int.from_bytes(record[4:8], "little") == zlib.crc32(record[8:])
        assert int.from_bytes(record[8:16], "little") == step
        offset, kind = offsets["delta", "rms"]
        found = np.frombuffer(record, kind, layers, offset)
        np.testing.assert_allclose(found, row(step)[DELTA_RMS], rtol=1e-7)
