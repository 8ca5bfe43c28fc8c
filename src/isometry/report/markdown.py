"""A diagnosis as Markdown, for a comment, an issue or a notebook of the lab."""

from collections.abc import Sequence

from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.report.text import (
    cause_words,
    fine_problems,
    healthy_sentence,
    told_causes,
    unchecked_problems,
    where_and_when,
)
from isometry.report.words import clean, number, problem, run_line

__all__ = ["markdown"]

_SPECIAL = set("\\`*_{}[]<>()#+!|~$&")


def markdown(diagnosis: Diagnosis) -> str:
    """Verdict, findings with causes and evidence, and what was checked."""
    run = diagnosis.run
    parts = [f"# {_safe(run.name)}", _safe("  ·  ".join(run_line(run)))]
    if diagnosis.healthy:
        parts.append(f"**HEALTHY**  {healthy_sentence(diagnosis)}")
    for finding in diagnosis.findings:
        parts += _finding(finding, run.architecture.names)
    fine, unchecked = fine_problems(diagnosis), unchecked_problems(diagnosis)
    if fine:
        parts.append(f"**Checked and fine:** {', '.join(fine)}.")
    if unchecked:
        parts.append("**Not checked:**")
        parts.append("\n".join(f"- {', '.join(names)}: {_safe(reason)}" for reason, names in unchecked))
    return "\n\n".join(parts) + "\n"


def _finding(finding: Finding, order: Sequence[str]) -> list[str]:
    parts = [
        f"## {Severity(finding.severity).name}: {problem(finding.problem)}",
        f"_{_safe(', '.join(where_and_when(finding, order)))}_",
        _safe(finding.summary),
    ]
    if finding.causes:
        parts.append("Because:\n\n" + "\n".join(f"- {_safe(cause_words(cause))}" for cause in told_causes(finding)))
    if finding.consequence:
        parts.append(f"So: {_safe(finding.consequence)}")
    if finding.evidence:
        rows = ["| measured | value | limit | unit |", "|---|---:|---:|---|"]
        rows += [
            f"| {_safe(piece.quantity)} | {number(piece.measured)} | {number(piece.limit)} | {_safe(piece.unit)} |"
            for piece in finding.evidence
        ]
        parts.append("\n".join(rows))
    return parts


def _safe(text: str) -> str:
    """Plain text that no Markdown reader takes for markup."""
    return "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in clean(text))
