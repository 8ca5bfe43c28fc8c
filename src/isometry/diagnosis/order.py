"""Which finding is the cause of which, and in what order they are told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Finding, Severity

__all__ = ["in_order"]

Follows = Mapping[str, frozenset[str]]
"""For each code of a rule the problems that its findings may be a consequence of."""


def in_order(findings: Sequence[Finding], follows: Follows) -> tuple[Finding, ...]:
    """Worst first, causes before what follows from them; a consequence says what it follows from.

    Severity is what happens if nothing is done, so a cause is at least as severe as its consequences. Among equals
    those without a cause come first, then the earliest, then the surest.
    """
    causes = [[other for other in findings if _is_cause(other, of=finding, follows=follows)] for finding in findings]
    weighty = {id(finding): finding.severity for finding in findings}
    for _ in findings:  # a chain of causes is no longer than the list
        for finding, behind in zip(findings, causes, strict=True):
            for cause in behind:
                weighty[id(cause)] = max(weighty[id(cause)], weighty[id(finding)])
    told = [_told(finding, behind, weighty[id(finding)]) for finding, behind in zip(findings, causes, strict=True)]
    depth = _depths(findings, causes)
    places = sorted(range(len(told)), key=lambda place: _urgency(told[place], depth[place]))
    return tuple(told[place] for place in places)


def _is_cause(finding: Finding, *, of: Finding, follows: Follows) -> bool:
    """Whether one finding explains another: declared, nearly as severe, and there before it."""
    if finding is of or finding.problem not in follows.get(of.code, frozenset()):
        return False
    near = of.severity - finding.severity <= limits.NEARLY_AS_SEVERE.value
    mutual = of.problem in follows.get(finding.code, frozenset())
    return finding.severity >= Severity.SLOWS and near and _is_earlier(finding, of, strictly=mutual)


def _is_earlier(first: Finding, second: Finding, *, strictly: bool) -> bool:
    if first.first_step is None or second.first_step is None:
        return not strictly
    return first.first_step < second.first_step + (not strictly)


def _told(finding: Finding, causes: Sequence[Finding], severity: Severity) -> Finding:
    codes = tuple(dict.fromkeys(cause.code for cause in causes))
    if not codes:
        return replace(finding, severity=severity)
    words = f"Follows from {' and '.join(codes)}."
    consequence = f"{finding.consequence} {words}" if finding.consequence else words
    return replace(finding, severity=severity, follows=codes, consequence=consequence)


def _depths(findings: Sequence[Finding], causes: Sequence[Sequence[Finding]]) -> list[int]:
    """How many causes stand in a row behind each finding."""
    depth = {id(finding): 0 for finding in findings}
    for _ in findings:
        for finding, behind in zip(findings, causes, strict=True):
            depth[id(finding)] = max([depth[id(finding)], *(1 + depth[id(cause)] for cause in behind)])
    return [depth[id(finding)] for finding in findings]


def _urgency(finding: Finding, depth: int) -> tuple[int, int, float, float, str]:
    step = float("inf") if finding.first_step is None else float(finding.first_step)
    return -int(finding.severity), depth, step, -finding.confidence, finding.code
