"""The shelf of plots."""

from pathlib import Path

import pytest

from isometry.diagnosis.finding import PROBLEMS
from isometry.diagnosis.rule import rules
from isometry.errors import NotRecorded
from isometry.report import plots as shelf
from isometry.report.pictures import album
from isometry.report.plot import plots
from tests.report.drawn import RUNS, diagnosed, vanishing

FOLDER = Path(shelf.__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def test_every_file_holds_a_plot_and_every_plot_has_a_test_of_its_files_name():
    assert sorted(plot.picture.__module__.rpartition(".")[2] for plot in plots()) == FILES
    tests = {path.stem for path in (Path(__file__).parent / "plots").glob("test_*.py")}
    assert tests == {f"test_{name}" for name in FILES}


@pytest.mark.parametrize("plot", plots(), ids=lambda plot: plot.name)
def test_every_plot_has_a_page_and_proves_what_exists(plot):
    assert plot.doc.splitlines()[0].endswith((".", ":"))
    assert set(plot.proves) <= set(PROBLEMS) | {rule.code for rule in rules()}


@pytest.mark.parametrize("plot", plots(), ids=lambda plot: plot.name)
@pytest.mark.parametrize("name", RUNS)
def test_a_plot_gives_a_chart_or_says_what_is_missing(name, plot):
    try:
        chart = plot(RUNS[name]())
    except NotRecorded as reason:
        assert str(reason)
    else:
        assert chart.title and chart.alt


def test_each_picture_is_shown_once():
    found = album(diagnosed(vanishing()))
    names = [chart.name for chart in found.all]
    assert len(names) == len(set(names))
    assert [chart.name for chart in found.proofs if chart] == ["delta-by-depth", "update-ratio"]
    assert {"delta-through-time", "idle-units"} <= {entry.name for entry in found.missing}


def test_a_finding_that_begins_later_is_marked_where_it_begins():
    proof = album(diagnosed(vanishing())).proofs[1]
    assert [shape.words for shape in proof.shapes if type(shape).__name__ == "Rule"] == ["learning rate too low"]
