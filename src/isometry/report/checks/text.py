"""Checks and predictions in a terminal."""

from collections.abc import Sequence

from isometry.diagnosis.check import Check, Counterfactual, Prediction
from isometry.report.checks import tables
from isometry.report.checks.words import (
    JACOBIAN,
    STANDING_OUT,
    THEORY,
    dead_words,
    expectation,
    facts,
    inside_words,
    leads,
    nearness,
    notes,
    standing_out,
    told_diagnosis,
)
from isometry.report.lines import INDENT, Lines
from isometry.report.text import checked_facts, tell, terminal_width
from isometry.report.words import clean
from isometry.shown import presents

__all__ = ["check_text", "prediction_text"]


def check_text(
    check: Check, *, width: int | None = None, colour: bool = False, closing: Sequence[tuple[str, str]] = ()
) -> str:
    """Verdict, what theory says, measured beside predicted, and what would change it.

    Args:
        check: what to tell.
        width: signs in a line; the terminal's if left out.
        colour: put ANSI colours in; the words say the same without.
        closing: (label, words) pairs for the last line, e.g. ``("report", "check.html")``.
    """
    lines = Lines(width or terminal_width(), colour)
    diagnosis = told_diagnosis(check)
    lines.facts("isometry", facts(check.prediction, check.run.provenance.get("parameters")))
    lines.blank()
    if check.healthy:
        lines.wrapped(lines.styled("healthy", "HEALTHY"), leads(check)[0], hanging="")
        lines.blank()
    for finding in diagnosis.findings:
        tell(lines, finding, check.run.architecture.names)
        lines.blank()
    _notes(lines, notes(check))
    _theory(lines, check.prediction)
    _layers(lines, check.prediction, check)
    _standing_out(lines, check)
    _changes(lines, check.prediction, check.counterfactuals)
    if nearness(check):
        _paragraphs(lines, JACOBIAN, nearness(check))
    lines.facts("", checked_facts(diagnosis), joint="   ·   ", breaks=True)
    if closing:
        lines.facts("", [f"{lines.styled('quiet', label)}  {clean(words)}" for label, words in closing], joint=" " * 8)
    return lines.text()


def prediction_text(prediction: Prediction, *, width: int | None = None, colour: bool = False) -> str:
    """What is to be expected, what theory says of it, and the bands layer by layer."""
    lines = Lines(width or terminal_width(), colour)
    lines.facts("isometry", facts(prediction))
    lines.blank()
    lines.wrapped("", f"{expectation(prediction)}.", hanging="")
    if prediction.dead > 0:
        lines.wrapped("", dead_words(prediction), hanging="")
    lines.blank()
    _notes(lines, prediction.notes)
    _theory(lines, prediction)
    _layers(lines, prediction)
    return lines.text()


def _paragraphs(lines: Lines, title: str, paragraphs: Sequence[str]) -> None:
    lines.line(lines.styled("strong", title))
    for paragraph in paragraphs:
        lines.wrapped("", clean(paragraph), hanging=INDENT * 2, indent=INDENT)
    lines.blank()


def _notes(lines: Lines, notes: Sequence[str]) -> None:
    for note in notes:
        lines.wrapped("note", clean(note), hanging="      ")
    lines.blank()


def _theory(lines: Lines, prediction: Prediction) -> None:
    if prediction.explanation is not None and prediction.explanation.words:
        _paragraphs(lines, THEORY, prediction.explanation.words)


def _layers(lines: Lines, prediction: Prediction, check: Check | None = None) -> None:
    if not len(prediction.architecture):
        return
    lines.line(lines.styled("strong", tables.LAYERS))
    heads = tables.LAYER_COLUMNS if check else tables.PREDICTED_COLUMNS
    lines.columns([heads, *tables.telling_rows(prediction, check)], numeric=(2, 3, 4, 5), spare=(1, 5, 4))
    lines.wrapped("", tables.layer_glossary(prediction, check), hanging=INDENT, indent=INDENT)
    if check is not None:
        lines.wrapped("", inside_words(check), hanging=INDENT, indent=INDENT)
    lines.blank()


def _standing_out(lines: Lines, check: Check) -> None:
    sentences = standing_out(check)
    if sentences:
        _paragraphs(lines, STANDING_OUT, sentences)


def _changes(lines: Lines, prediction: Prediction, changes: Sequence[Counterfactual]) -> None:
    if not changes:
        return
    lines.line(lines.styled("strong", tables.CHANGES))
    lines.columns([tables.CHANGE_COLUMNS, *tables.change_rows(changes)], numeric=(1, 2, 3), spare=(2, 3))
    lines.wrapped("", tables.changes_glossary(prediction), hanging=INDENT, indent=INDENT)
    lines.blank()


@presents(Check)
def _present_check(check: Check) -> str:
    return check_text(check)


@presents(Prediction)
def _present_prediction(prediction: Prediction) -> str:
    return prediction_text(prediction)
