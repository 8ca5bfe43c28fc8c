import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.history import history as module
from isometry.history.history import History, Series
from isometry.network.signals import Signal
from tests.runs import make_run


def test_columns_are_found_by_signal_and_by_name():
    history = make_run(delta_rms=[1.0, 2.0, 3.0]).history
    np.testing.assert_array_equal(history[Signal.DELTA, "rms"], [[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(history["delta", "rms"], history[Signal.DELTA, "rms"])
    assert ("delta", "rms") in history
    assert history.columns == ((Signal.DELTA, "rms"),)
    assert isinstance(history.columns[0][0], Signal)


def test_a_missing_column_says_what_there_is():
    history = make_run(delta_rms=[1.0]).history
    assert (Signal.WEIGHT, "rms") not in history
    with pytest.raises(NotRecorded, match=r"weight rms: not in this run, which holds delta\. Watch again"):
        history[Signal.WEIGHT, "rms"]


def test_a_run_without_steps_has_no_columns():
    history = History.from_arrays([], {(Signal.DELTA, "rms"): np.empty((0, 3))})
    assert (Signal.DELTA, "rms") not in history
    with pytest.raises(NotRecorded, match="no step was recorded"):
        history[Signal.DELTA, "rms"]


def test_what_is_not_a_column_is_not_in_it():
    assert "delta" not in make_run(delta_rms=[1.0]).history


def test_arrays_cannot_be_changed_by_their_readers():
    history = make_run(delta_rms=[1.0, 2.0]).history
    with pytest.raises(ValueError, match="read-only"):
        history["delta", "rms"][0, 0] = 5


def test_making_a_history_leaves_the_given_arrays_writable():
    array = np.ones((2, 3))
    History.from_arrays([0, 1], {("delta", "rms"): array})
    array[0, 0] = 5


def test_arrays_of_another_length_are_refused():
    with pytest.raises(ValueError, match="instead of"):
        History.from_arrays([0, 1], {("delta", "rms"): np.ones((3, 4))})


def test_few_columns_are_kept_in_memory(monkeypatch):
    reads = []

    def read(column, rows):
        reads.append(column)
        return np.ones((10, 10))

    columns = [("delta", name) for name in ("mean", "std", "rms")]
    history = History(np.arange(10), columns, read)
    monkeypatch.setattr(module, "CACHE_BYTES", 2 * 800)
    for column in [columns[0], columns[1], columns[0], columns[2], columns[0], columns[1]]:
        history[column]
    assert reads == [columns[0], columns[1], columns[2], columns[1]]


@pytest.mark.parametrize("rows", [[0, 2], [2, 0, 0], slice(1, None), [-1], np.array([True, False, True]), []])
def test_rows_are_picked_as_from_the_whole_column(rows):
    history = make_run(delta_rms=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).history
    found = history.rows(("delta", "rms"), rows)
    np.testing.assert_array_equal(found, history["delta", "rms"][rows])
    np.testing.assert_array_equal(history.rows(("delta", "rms"), rows), found)
    assert not found.flags.writeable


def test_rows_of_a_missing_column_are_missing_too():
    with pytest.raises(NotRecorded, match="weight rms"):
        make_run(delta_rms=[1.0]).history.rows(("weight", "rms"), [0])


def test_one_column_larger_than_the_cache_is_still_given(monkeypatch):
    monkeypatch.setattr(module, "CACHE_BYTES", 1)
    history = History(np.arange(2), [("delta", "rms")], lambda column, rows: np.ones((2, 2)))
    assert history["delta", "rms"].shape == (2, 2)


def test_scalars_begin_at_step_0_unless_said_otherwise():
    series = Series(np.array([3, 9]), np.array([1.0, 2.0]))
    history = make_run(scalars={"loss": [3.0, 2.0, 1.0], "accuracy": series}).history
    np.testing.assert_array_equal(history.scalars["loss"].steps, [0, 1, 2])
    assert history.scalars["accuracy"] is series
    assert len(series) == 2
    assert history.total_steps == 10


def test_the_last_step_known_tells_how_many_there_were():
    assert make_run(delta_rms=[1.0]).history.total_steps == 1
    assert make_run(delta_rms=np.ones((2, 1)), steps=[0, 41]).history.total_steps == 42
    assert make_run(delta_rms=[1.0], events={"end": [{"step": 99, "steps": 100}]}).history.total_steps == 100
    assert History.from_arrays([], {}).total_steps == 0


def test_events_are_told_by_kind_in_order():
    history = make_run(events={"alarm": [{"step": 1, "words": "a"}, {"step": 4, "words": "b"}]}).history
    assert [event["step"] for event in history.events("alarm")] == [1, 4]
    assert history.events("trouble") == ()
    assert history.event_kinds == ("alarm",)
    assert history.end is None
