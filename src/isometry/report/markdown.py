"""A diagnosis as Markdown, for a comment, an issue or a notebook of the lab."""

from collections.abc import Collection, Sequence

from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.report.chart import Table
from isometry.report.text import (
    cause_words,
    fine_problems,
    forecast_words,
    healthy_sentence,
    told_causes,
    unchecked_problems,
    where_and_when,
)
from isometry.report.words import clean, number, run_line, titled

__all__ = ["checked", "finding_parts", "markdown", "plain", "table"]

_SPECIAL = set("\\`*_{}[]<>()#+!|~$&")


def markdown(diagnosis: Diagnosis) -> str:
    """Verdict, findings with causes and evidence, and what was checked."""
    run = diagnosis.run
    parts = [f"# {plain(run.name)}", plain("  ·  ".join(run_line(run)))]
    if diagnosis.healthy:
        parts.append(f"**HEALTHY**  {healthy_sentence(diagnosis)}")
    for finding in diagnosis.findings:
        parts += finding_parts(finding, run.architecture.names)
    return "\n\n".join([*parts, *checked(diagnosis)]) + "\n"


def checked(diagnosis: Diagnosis) -> list[str]:
    """What was looked for without a find, and what could not be looked for."""
    fine, unchecked = fine_problems(diagnosis), unchecked_problems(diagnosis)
    parts = [f"**Checked and fine:** {', '.join(fine)}."] if fine else []
    if unchecked:
        parts.append("**Not checked:**")
        parts.append("\n".join(f"- {', '.join(names)}: {plain(reason)}" for reason, names in unchecked))
    return parts


def finding_parts(finding: Finding, order: Sequence[str]) -> list[str]:
    """One finding, paragraph by paragraph. ``order``: all layers of the run, input first."""
    parts = [
        f"## {Severity(finding.severity).name}: {titled(finding)}",
        f"_{plain(', '.join(where_and_when(finding, order)))}_",
        plain(finding.summary),
    ]
    if finding.causes:
        parts.append("Because:\n\n" + "\n".join(f"- {plain(cause_words(cause))}" for cause in told_causes(finding)))
    if finding.consequence:
        parts.append(f"So: {plain(finding.consequence)}")
    if forecast_words(finding):
        parts.append(f"Helps: {plain(forecast_words(finding))}")
    if finding.evidence:
        rows = [(e.quantity, number(e.measured), number(e.limit), e.unit) for e in finding.evidence]
        parts.append(table(Table(("measured", "value", "limit", "unit"), tuple(rows)), numeric=(1, 2)))
    return parts


def table(content: Table, *, numeric: Collection[int]) -> str:
    """A table, whose ``numeric`` columns stand to the right."""
    rules = ("---:" if place in numeric else "---" for place in range(len(content.columns)))
    rows = [content.columns, *content.rows]
    told = [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    return "\n".join([told[0], f"|{'|'.join(rules)}|", *told[1:]])


def plain(text: str) -> str:
    """Plain text that no Markdown reader takes for markup."""
    return "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in clean(text))
