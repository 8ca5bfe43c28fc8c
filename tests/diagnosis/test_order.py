"""Causes are told before what follows from them, and a consequence says so."""

import pytest

from isometry.diagnosis.finding import Finding, Severity
from isometry.diagnosis.order import in_order
from isometry.diagnosis.rule import rules

FOLLOWS = {
    "A": frozenset({"learning_rate_too_high"}),
    "U": frozenset({"unscaled_input"}),
    "L": frozenset({"dead_units", "learning_rate_too_high", "unscaled_input"}),
}
PROBLEM = {"A": "dead_units", "U": "learning_rate_too_high", "D": "unscaled_input", "L": "loss_not_decreasing"}


def found(code: str, severity: Severity, step: int | None = 0, confidence: float = 0.9) -> Finding:
    return Finding(severity, code, first_step=step, code=code, problem=PROBLEM[code], confidence=confidence)


def test_cause_comes_first_and_is_as_severe_as_its_consequence() -> None:
    dead, rate = in_order([found("A", Severity.STOPS, 9), found("U", Severity.HARMS, 2)], FOLLOWS)[::-1]
    assert (rate.code, rate.severity, rate.follows) == ("U", Severity.STOPS, ())
    assert (dead.code, dead.follows) == ("A", ("U",))
    assert dead.consequence.endswith("Follows from U.")


def test_chain_is_told_from_its_root() -> None:
    given = [found("L", Severity.HARMS, None), found("A", Severity.STOPS, 5), found("U", Severity.HARMS, 1)]
    told = in_order([*given, found("D", Severity.SLOWS)], FOLLOWS)
    assert [finding.code for finding in told] == ["D", "U", "A", "L"]
    assert {finding.severity for finding in told[:3]} == {Severity.STOPS}
    assert told[-1].follows == ("A", "U", "D")


def test_order_of_the_rules_does_not_matter() -> None:
    given = [found("L", Severity.HARMS, None), found("A", Severity.STOPS, 5), found("U", Severity.HARMS, 1)]
    assert in_order(given, FOLLOWS)[0] == in_order(given[::-1], FOLLOWS)[0]


@pytest.mark.parametrize(
    ("severity", "step", "reason"),
    [
        (Severity.NOTE, 0, "a note is no cause"),
        (Severity.SLOWS, 0, "what slows does not stop"),
        (Severity.HARMS, 9, "it came later"),
    ],
)
def test_unlikely_cause_is_none(severity: Severity, step: int, reason: str) -> None:
    told = in_order([found("A", Severity.STOPS, 5), found("U", severity, step)], FOLLOWS)
    assert not any(finding.follows for finding in told), reason
    assert told[0].code == "A"


def test_where_each_may_follow_from_the_other_the_earlier_one_is_the_cause() -> None:
    mutual = {**FOLLOWS, "U": frozenset({"dead_units"})}
    told = in_order([found("U", Severity.HARMS, 7), found("A", Severity.HARMS, 3)], mutual)
    assert [finding.follows for finding in told] == [(), ("A",)]
    told = in_order([found("U", Severity.HARMS, 3), found("A", Severity.HARMS, 3)], mutual)
    assert [finding.follows for finding in told] == [(), ()]


def test_worst_comes_first_whatever_the_causes() -> None:
    told = in_order([found("D", Severity.SLOWS), found("A", Severity.STOPS, 5)], FOLLOWS)
    severities = [finding.severity for finding in told]
    assert severities == sorted(severities, reverse=True)


def test_rules_declare_no_circle_beside_pairs_that_time_decides() -> None:
    after: dict[str, set[str]] = {}
    for rule in rules():
        after.setdefault(rule.problem, set()).update(rule.follows)
    pairs = {(a, b) for a in after for b in after[a] if a in after.get(b, set())}
    left = {a: {b for b in after[a] if (a, b) not in pairs} for a in after}
    while left:
        roots = [problem for problem in left if not left[problem] & set(left)]
        assert roots, left
        left = {problem: before for problem, before in left.items() if problem not in roots}
