"""A check or a prediction as one HTML file, as complete in itself as the page of a diagnosis."""

from collections.abc import Iterable, Sequence

from isometry.diagnosis.check import Check, Prediction
from isometry.report import html
from isometry.report.chart import Table
from isometry.report.checks.pictures import check_album, prediction_album
from isometry.report.checks.tables import (
    CHANGE_COLUMNS,
    CHANGES,
    LAYERS,
    change_rows,
    changes_glossary,
    layer_glossary,
    layer_table,
)
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
from isometry.report.page import document, safe, tabulate
from isometry.report.pictures import Missing
from isometry.report.text import tone_of

__all__ = ["check_page", "prediction_page"]

PICTURES = "Measured beside predicted"
SHOWN = 16
"""Layers up to which their table is open."""


def check_page(check: Check) -> str:
    """Verdict, findings, pictures, what would change it, and the numbers."""
    diagnosis, pictures = told_diagnosis(check), check_album(check)
    prediction = check.prediction
    body = [
        html.header(facts(prediction, check.run.provenance.get("parameters"))),
        '<main id="main">',
        html.verdict(tone_of(diagnosis), headline(check), [*leads(check), *notes(check)], html.agenda(diagnosis)),
        *html.findings(diagnosis, pictures.proofs),
        *html.gallery(PICTURES, pictures.others, len(check.findings)),
        _theory(prediction),
        _paragraphs("departures", STANDING_OUT, standing_out(check)),
        _changes(check),
        _paragraphs("jacobian", JACOBIAN, nearness(check)),
        _layers(prediction, check),
        html.checks(diagnosis, pictures.missing),
        "</main>",
    ]
    return document(f"{facts(prediction)[0]} · isometry: {headline(check)}", body, skip="Skip to the verdict")


def prediction_page(prediction: Prediction) -> str:
    """What is to be expected, in words, pictures and numbers."""
    pictures = prediction_album(prediction)
    dead = [dead_words(prediction)] if prediction.dead > 0 else []
    body = [
        html.header(facts(prediction)),
        '<main id="main">',
        html.verdict("NOTE", expectation(prediction), [*dead, *prediction.notes], badge="PREDICTION"),
        *html.gallery("What to expect", pictures.others, 0),
        _theory(prediction),
        _layers(prediction),
        _left_out(pictures.missing),
        "</main>",
    ]
    return document(f"{facts(prediction)[0]} · isometry: prediction", body, skip="Skip to the prediction")


def _theory(prediction: Prediction) -> str:
    return _paragraphs("theory", THEORY, prediction.explanation.words if prediction.explanation else ())


def _paragraphs(identifier: str, title: str, paragraphs: Sequence[str]) -> str:
    return _section(identifier, title, _told(*paragraphs)) if paragraphs else ""


def _told(*paragraphs: str) -> str:
    return f'<div class="told">{"".join(f"<p>{safe(words)}</p>" for words in paragraphs)}</div>'


def _section(identifier: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{identifier}"><h2 id="{identifier}">{safe(title)}</h2>{content}</section>'


def _changes(check: Check) -> str:
    if not check.counterfactuals:
        return ""
    table = Table((*CHANGE_COLUMNS[:2], "standard deviation", "z", "remark"), tuple(change_rows(check.counterfactuals)))
    words = _told(changes_glossary(check.prediction))
    return _section("changes", CHANGES, words + tabulate(table, CHANGES))


def _layers(prediction: Prediction, check: Check | None = None) -> str:
    count = len(prediction.architecture)
    if not count:
        return ""
    shown = " open" if count <= SHOWN else ""
    table = tabulate(layer_table(prediction, check), LAYERS)
    words = _told(layer_glossary(prediction, check))
    return _section(
        "layers", LAYERS, f"{words}<details{shown}><summary>All layers, input first</summary>{table}</details>"
    )


def _left_out(missing: Iterable[Missing]) -> str:
    entries = [f"{entry.name.replace('-', ' ')}: {entry.reason}" for entry in missing]
    return _paragraphs("missing", "Pictures left out", entries)
