"""Whatever the user logged."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.plots.metrics import metrics
from tests.runs import make_run


def drawn(**scalars):
    return metrics(make_run(delta_rms=1.0, scalars=scalars))


def test_curves_of_one_range_share_an_axis():
    chart = drawn(accuracy=np.linspace(0.1, 0.9, 10), validation=np.linspace(0.1, 0.8, 10), loss=np.ones(10))
    assert [shape.words for shape in chart.shapes] == ["accuracy", "validation"]
    assert chart.title == "accuracy: from 0.1 to 0.9"


def test_a_curve_of_another_range_is_named_not_squeezed():
    chart = drawn(accuracy=np.linspace(0.1, 0.9, 10), perplexity=np.full(10, 800.0))
    assert len(chart.shapes) == 1
    assert "perplexity" in chart.reading
    assert len(chart.table.rows) == 2


def test_what_the_watch_writes_itself_is_no_metric():
    with pytest.raises(NotRecorded, match="nothing was logged"):
        drawn(loss=np.ones(3), lr=np.ones(3))
