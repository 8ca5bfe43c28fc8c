"""δ along the time steps of a sequence."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Line
from isometry.report.plots.delta_through_time import delta_through_time
from tests.report.drawn import recurrent, vanishing
from tests.runs import make_run


def test_the_title_says_what_is_lost_over_how_many_time_steps():
    assert delta_through_time(recurrent()).title == "In lstm δ falls by 5.9 decades over 100 time steps"


def test_the_first_recorded_step_is_shown_beside_the_last():
    lines = [shape for shape in delta_through_time(recurrent()).shapes if isinstance(shape, Line)]
    assert [line.role for line in lines] == ["main", "context"]


def test_the_worst_layers_come_first():
    events = [
        {"step": 0, "layer": name, "rms": list(np.logspace(-fall, 0, 20))}
        for name, fall in (("a", 1), ("b", 9), ("c", 2), ("d", 3))
    ]
    chart = delta_through_time(make_run(delta_rms=np.ones(4), events={"through_time": events}))
    assert chart.title.startswith("In b δ falls by 9.0 decades")
    assert [shape.words.partition(",")[0] for shape in chart.shapes] == ["b", "d", "c"]


def test_silent_time_steps_are_counted():
    events = [{"step": 0, "layer": "rnn", "rms": [0.0, 0.0, 1e-8, 1.0]}]
    chart = delta_through_time(make_run(delta_rms=1.0, events={"through_time": events}))
    assert chart.title.endswith("exactly 0 at 2 of them")


def test_a_net_without_recurrence_has_no_picture():
    with pytest.raises(NotRecorded, match="no recurrent layer"):
        delta_through_time(vanishing())
