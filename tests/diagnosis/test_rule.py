"""The decorator stamps what a rule finds, and a run without the columns is told, not failed."""

import re
from pathlib import Path

import numpy as np
import pytest

from isometry.diagnosis import rule as rule_module
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Finding, Severity
from isometry.diagnosis.rule import Rule, rule, rules
from isometry.errors import IsometryError, NotRecorded
from isometry.history.store import open_run
from tests.report.drawn import RUNS
from tests.runs import make_run

GOLDEN = Path(__file__).parents[1] / "golden" / "run-v1"


@rule("X101", problem="loss_spike", reads=[("delta", "rms")], confidence=0.8)
def liar(run):
    """Says it is another rule."""
    yield Finding(Severity.NOTE, "one", code="G101", problem="no_gradient")
    yield Finding(Severity.HARMS, "two", confidence=0.5)
    yield Finding(Severity.SLOWS, "three", confidence=0.99)


@rule("X102", problem="loss_spike", reads=[], confidence=0.8)
def faulty(run):
    """Fails."""
    raise ZeroDivisionError("by zero")


@rule("X103", problem="loss_spike", reads=[], confidence=0.8)
def not_concerned(run):
    """Has nothing to judge."""
    raise NotRecorded("no attention layer")


@pytest.fixture
def shelf(monkeypatch):
    def put(*held: Rule) -> None:
        monkeypatch.setattr("isometry.diagnosis.diagnose.rules", lambda: held)

    return put


def test_findings_carry_the_rules_own_code_and_problem():
    found = liar(make_run(delta_rms=[1.0, 1.0]))
    assert {(finding.code, finding.problem) for finding in found} == {("X101", "loss_spike")}


def test_a_rule_may_lower_its_confidence_but_not_raise_it():
    assert [finding.confidence for finding in liar(make_run(delta_rms=[1.0]))] == [0.8, 0.5, 0.8]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("the loss stays", "The loss stays"),
        ("layer 3: dead", "Layer 3: dead"),
        ("fc1 loses", "fc1 loses"),
        ("fc1: dead", "fc1: dead"),
        ("fc1.weight stays", "fc1.weight stays"),
        ("fc12 is no layer of this run", "Fc12 is no layer of this run"),
        ("δ vanishes", "δ vanishes"),
        ("3 parameters", "3 parameters"),
        ("", ""),
    ],
)
def test_a_summary_begins_with_a_capital_letter_unless_a_name_or_sign_comes_first(said, told):
    @rule("X105", problem="loss_spike", reads=[], confidence=1.0)
    def saying(run):
        """Says it."""
        yield Finding(Severity.NOTE, said)

    (finding,) = saying(make_run(delta_rms=[1.0, 1.0]))
    assert finding.summary == told


def ailing():
    """Runs in which rules of every kind find something, most of which begin their summaries with a small letter."""
    steps = np.arange(60)
    loss = 2 + 0.01 * np.sin(steps)
    moving = {"weight_rms": np.ones((60, 3)), "weight_std": np.ones((60, 3))}
    yield open_run(GOLDEN)
    yield from (draw() for draw in RUNS.values())
    yield make_run(delta_rms=np.ones((60, 3)), update_rms=0.7, scalars={"loss": loss}, **moving)
    yield make_run(delta_rms=np.ones((60, 3)), update_rms=1e-9, scalars={"loss": loss}, **moving)
    yield make_run(delta_rms=np.ones((60, 3)), update_rms=0.0, scalars={"loss": loss}, **moving)
    yield make_run(weight_gradient_rms=np.ones((60, 3)) * [0, 1, 1], scalars={"loss": np.where(steps > 40, np.nan, 1)})
    yield make_run(delta_rms=1.0, scalars={"loss": np.where(steps == 40, 1e3, np.exp(-steps / 20))})


def test_all_rules_begin_their_summaries_the_same_way():
    told = {}
    for run in ailing():
        for finding in diagnose(run).findings:
            told[finding.code] = finding.summary
            first = re.split(r"[\s:;,]", finding.summary)[0]
            assert not first[:1].islower() or first == "δ" or first in run.architecture.names, finding.summary
    assert len(told) >= 6, sorted(told)


def test_the_worst_finding_comes_first(shelf):
    shelf(liar)
    diagnosis = diagnose(make_run(delta_rms=[1.0]))
    assert [finding.summary for finding in diagnosis.findings] == ["Two", "Three", "One"]
    assert not diagnosis.healthy
    assert diagnosis.checked == ("loss_spike",)


def test_a_missing_column_is_named_as_the_reason(shelf):
    shelf(liar)
    (entry,) = diagnose(make_run(weight_rms=[1.0])).not_checked
    assert (entry.code, entry.reason) == ("X101", "not recorded: delta rms")


def test_a_rule_without_its_subject_is_not_checked(shelf):
    shelf(not_concerned)
    (entry,) = diagnose(make_run(delta_rms=[1.0])).not_checked
    assert entry.reason == "no attention layer"


def test_a_faulty_rule_does_not_cost_the_others(shelf):
    shelf(faulty, liar)
    with pytest.warns(RuntimeWarning, match="X102"):
        diagnosis = diagnose(make_run(delta_rms=[1.0]))
    assert len(diagnosis.findings) == 3
    assert "ZeroDivisionError" in diagnosis.not_checked[0].reason


@pytest.mark.parametrize("name", ["X101", "liar", "loss_spike"])
def test_rules_are_chosen_by_code_name_or_problem(shelf, name):
    shelf(liar, not_concerned)
    assert len(diagnose(make_run(delta_rms=[1.0]), only=[name]).findings) == 3
    assert len(diagnose(make_run(delta_rms=[1.0]), only=name).findings) == 3


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(IsometryError, match=r"nonsense.*vanishing_gradient"):
        diagnose(make_run(delta_rms=[1.0]), only=["nonsense"])


def test_a_problem_outside_the_list_is_refused():
    with pytest.raises(IsometryError, match="PROBLEMS"):
        rule("X104", problem="bad_mood", reads=[], confidence=0.5)


def test_two_rules_with_one_code_are_refused(monkeypatch):
    monkeypatch.setattr(rule_module, "collect", lambda *_, **__: (liar, liar))
    with pytest.raises(IsometryError, match="share the code X101"):
        rules.__wrapped__()


def test_a_run_without_any_column_is_told_not_failed():
    diagnosis = diagnose(make_run(weight_gradient_zeros=[0.0, 0.0]))
    assert diagnosis.healthy
    assert diagnosis.not_checked
