"""A check or a prediction as Markdown."""

from collections.abc import Sequence

from isometry.diagnosis.check import Check, Prediction
from isometry.report.chart import Table
from isometry.report.checks import tables
from isometry.report.checks.words import (
    JACOBIAN,
    STANDING_OUT,
    THEORY,
    dead_words,
    expectation,
    facts,
    headline,
    leads,
    nearness,
    notes,
    standing_out,
    told_diagnosis,
)
from isometry.report.markdown import checked, finding_parts, plain, table

__all__ = ["check_markdown", "prediction_markdown"]


def check_markdown(check: Check) -> str:
    """Verdict, findings, theory, measured beside predicted, and what would change it."""
    diagnosis, prediction = told_diagnosis(check), check.prediction
    parts = [
        f"# {plain(headline(check))}",
        plain("  ·  ".join(facts(prediction, check.run.provenance.get("parameters")))),
    ]
    parts += [plain(words) for words in (*(leads(check) if check.healthy else leads(check)[1:]), *notes(check))]
    for finding in diagnosis.findings:
        parts += finding_parts(finding, check.run.architecture.names)
    parts += [*_theory(prediction), *_layers(prediction, check)]
    parts += _listed(STANDING_OUT, standing_out(check))
    if check.counterfactuals:
        columns = (*tables.CHANGE_COLUMNS[:2], "standard deviation", "z", "remark")
        rows = Table(columns, tuple(tables.change_rows(check.counterfactuals)))
        parts += [f"## {tables.CHANGES}", plain(tables.changes_glossary(prediction)), table(rows, numeric=(1, 2, 3))]
    if nearness(check):
        parts += [f"## {JACOBIAN}", *(plain(words) for words in nearness(check))]
    return "\n\n".join([*parts, *checked(diagnosis)]) + "\n"


def prediction_markdown(prediction: Prediction) -> str:
    """What is to be expected, what theory says of it, and the bands layer by layer."""
    parts = [f"# {plain(expectation(prediction))}", plain("  ·  ".join(facts(prediction)))]
    parts += [plain(words) for words in (*([dead_words(prediction)] if prediction.dead > 0 else []), *prediction.notes)]
    return "\n\n".join([*parts, *_theory(prediction), *_layers(prediction)]) + "\n"


def _theory(prediction: Prediction) -> list[str]:
    return _listed(THEORY, prediction.explanation.words if prediction.explanation else ())


def _listed(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {plain(words)}" for words in sentences)] if sentences else []


def _layers(prediction: Prediction, check: Check | None = None) -> list[str]:
    columns = tables.LAYER_COLUMNS if check else tables.PREDICTED_COLUMNS
    empty = ("",) * (len(columns) - 1)
    rows = [(row, *empty) if isinstance(row, str) else row for row in tables.telling_rows(prediction, check)]
    if not rows:
        return []
    numbers = table(Table(columns, tuple(rows)), numeric=(2, 3, 4, 5))
    return [f"## {tables.LAYERS}", plain(tables.layer_glossary(prediction, check)), numbers]
