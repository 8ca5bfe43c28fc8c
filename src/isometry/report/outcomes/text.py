"""An outcome in a terminal."""

from collections.abc import Sequence

from isometry.report.lines import INDENT, Lines
from isometry.report.outcomes.words import (
    ARMS,
    PATCH,
    arm_table,
    best_arm,
    ended_early,
    facts,
    headline,
    is_the_cure,
    patch_lines,
    score_words,
    sentences,
    state,
    tone,
)
from isometry.report.text import terminal_width
from isometry.report.words import clean, decades
from isometry.shown import presents
from isometry.treatment.outcome import Outcome
from isometry.treatment.prescription import Prescription

__all__ = ["outcome_text", "prescription_text"]

CURE = "◂"
"""Beside the arm that helped."""


def outcome_text(outcome: Outcome, *, width: int | None = None, colour: bool = False) -> str:
    """Verdict, before against after, every arm, and the change to make by hand.

    Args:
        outcome: what to tell.
        width: signs in a line; the terminal's if left out.
        colour: put ANSI colours in; the words say the same without.
    """
    lines = Lines(width or terminal_width(), colour)
    lines.facts("isometry", facts(outcome))
    lines.blank()
    style = "healthy" if tone(outcome) == "HEALTHY" else tone(outcome)
    lines.line(f"{lines.styled(style, outcome.verdict.upper())}  {lines.styled('strong', headline(outcome))}")
    for words in sentences(outcome):
        lines.wrapped("", clean(words), hanging=INDENT, indent=INDENT)
    lines.labelled("before", state(outcome.before))
    for finding in outcome.before.findings[:1]:
        lines.labelled("", clean(finding.summary))
    if best_arm(outcome) is not None:
        lines.labelled("after", state(outcome.after))
    lines.blank()
    if len(outcome.trials) > 1:
        lines.line(lines.styled("strong", ARMS))
        table = arm_table(outcome)
        rows: list[Sequence[str] | str] = [(*table.columns[:-1], "")]
        for arm, cells in zip(outcome.trials, table.rows, strict=True):
            rows.append((*cells[:-1], CURE if is_the_cure(arm, outcome) else ""))
            rows += [INDENT + words for words in ended_early(arm)]
        lines.columns(rows, numeric=(1, 2, 3, 4), spare=(4,))
        lines.wrapped(
            "",
            f"The score is {score_words(outcome)}. Differences are to the untreated arm, seed by seed; all arms "
            "have the same data, seeds and number of steps.",
            hanging=INDENT,
            indent=INDENT,
        )
        lines.blank()
    if outcome.patch:
        lines.line(lines.styled("strong", PATCH))
        lines.lines += _code(lines, outcome.patch, INDENT)
    return lines.text()


@presents(Outcome)
def _present_outcome(outcome: Outcome) -> str:
    return outcome_text(outcome)


def prescription_text(prescription: Prescription, *, width: int | None = None, colour: bool = False) -> str:
    """One prescription: what to change, what is expected of it, and how to do it by hand."""
    lines = Lines(width or terminal_width(), colour)
    answers = f"against {', '.join(prescription.answers)}"
    foretold = f", predicted {decades(prescription.expected)} decades" if prescription.expected is not None else ""
    title = f"{lines.styled('strong', clean(prescription.remedy))}  {prescription.effect}"
    lines.titled(title, answers + foretold)
    lines.wrapped("", clean(prescription.words), hanging=INDENT, indent=INDENT)
    lines.lines += _code(lines, prescription.patch, INDENT * 2)
    return lines.text()


def _code(lines: Lines, patch: str, indent: str) -> list[str]:
    told = [(STYLES.get(part), line.rstrip()) for part, line in patch_lines(patch)]
    return [(indent + (lines.styled(style, line) if style else line)).rstrip() for style, line in told]


STYLES = {"added": "added", "removed": "removed", "place": "quiet"}


@presents(Prescription)
def _present_prescription(prescription: Prescription) -> str:
    return prescription_text(prescription)
