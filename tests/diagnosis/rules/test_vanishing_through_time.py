"""δ that falls through time is found where the network does not learn; LSTMs that do and level profiles are not."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.vanishing_through_time import vanishing_through_time
from isometry.errors import NotRecorded
from tests.runs import make_run

FLAT = {"loss": np.full(100, 2.0)}
FALLING = {"loss": np.linspace(2.0, 0.1, 100)}


def through_time(rate, *, length=40, steps=12, loss=None, factor=1.0):
    rms = (factor * 1e-2 * 10.0 ** (-rate * np.arange(length)[::-1])).astype(np.float32)
    events = {"through_time": [{"step": s, "layer": "rnn", "rms": rms.tolist()} for s in range(steps)]}
    return make_run(names=["rnn", "head"], delta_rms=[1.0, 1.0], scalars=loss or FLAT, events=events)


def test_a_forgetful_recurrence_that_does_not_learn_is_found():
    (finding,) = vanishing_through_time(through_time(0.3))
    assert finding.severity == Severity.HARMS
    assert finding.layers == ("rnn",)
    assert "0.30 decades per time step" in finding.summary


def test_an_lstm_that_learns_has_a_note_only():
    assert [f.severity for f in vanishing_through_time(through_time(0.3, loss=FALLING))] == [Severity.NOTE]


@pytest.mark.parametrize("rate", [0.0, 0.02, -0.02])
def test_level_profiles_are_silent(rate):
    assert not vanishing_through_time(through_time(rate))


@pytest.mark.parametrize("factor", [1e-12, 1e6])
def test_multiplying_the_loss_changes_nothing(factor):
    plain, scaled = through_time(0.3), through_time(0.3, factor=factor)
    assert [f.summary for f in vanishing_through_time(plain)] == [f.summary for f in vanishing_through_time(scaled)]


def test_steps_beyond_the_range_of_float32_are_told_as_such():
    (finding,) = vanishing_through_time(through_time(0.5, length=120))
    assert "nothing arrives at all" in finding.consequence
    rounded_at_the_end_of_the_range = 0.5
    assert finding.evidence[0].measured == pytest.approx(59.5, abs=rounded_at_the_end_of_the_range)


def test_padding_after_the_last_read_step_does_not_matter():
    rms = [1e-2] * 20 + [0.0] * 10
    events = {"through_time": [{"step": 0, "layer": "rnn", "rms": rms}]}
    assert not vanishing_through_time(make_run(names=["rnn"], delta_rms=[1.0], events=events))


def test_short_sequences_are_silent():
    assert not vanishing_through_time(through_time(1.0, length=5))


def test_a_network_without_recurrence_is_not_checked():
    with pytest.raises(NotRecorded, match="recurrent"):
        vanishing_through_time(make_run(delta_rms=[1.0]))


def outgrown(loss):
    steps = [*range(8), 32, 128, 256, 512, 513, 514, 515, 516]
    rates = [0.3] * 8 + [0.01] * 8
    rows = [10.0 ** (-rate * np.arange(20)[::-1]) for rate in rates]
    events = {
        "through_time": [{"step": s, "layer": "rnn", "rms": row.tolist()} for s, row in zip(steps, rows, strict=True)]
    }
    return make_run(names=["rnn", "head"], delta_rms=[1.0, 1.0], scalars=loss, events=events)


def test_a_fall_that_was_overcome_slows_only_where_the_loss_stays_up():
    assert [f.severity for f in vanishing_through_time(outgrown(FLAT))] == [Severity.SLOWS]
    assert not vanishing_through_time(outgrown(FALLING))
