"""δ that grows through time is found; adding up over the steps that a loss reads is not."""

import numpy as np

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.exploding_through_time import exploding_through_time
from tests.runs import make_run


def run_of(rms, **fields):
    events = {"through_time": [{"step": s, "layer": "rnn", "rms": list(rms)} for s in range(12)]}
    return make_run(names=["rnn"], delta_rms=[1.0], events=events, **fields)


def test_growth_back_through_time_is_found():
    (finding,) = exploding_through_time(run_of(1e-3 * 1.4 ** np.arange(40)[::-1], scalars={"loss": np.full(50, 2.0)}))
    assert finding.severity == Severity.HARMS
    assert "0.15 decades per time step" in finding.summary


def test_adding_up_over_a_hundred_read_steps_is_silent():
    assert not exploding_through_time(run_of(np.arange(1.0, 100.0)[::-1] * 1e-6))


def test_a_falling_profile_is_silent():
    assert not exploding_through_time(run_of(0.5 ** np.arange(40)[::-1]))
