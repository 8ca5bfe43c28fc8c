"""A diagnosis as one HTML file: verdict, pictures beside the findings they prove, tables, provenance.

The file asks for nothing: no script, no outer style, font or picture, and a content security policy that forbids them.
Whatever a user or a run named is escaped where it is written.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from isometry.diagnosis.finding import Diagnosis, Evidence, Finding, Severity
from isometry.history.run import Run
from isometry.network.architecture import Layer
from isometry.network.signals import Signal
from isometry.report.chart import Chart, Table
from isometry.report.columns import log10, optional, telling_rows
from isometry.report.json import strict
from isometry.report.page import document, figure, safe, tabulate
from isometry.report.pictures import Missing, album
from isometry.report.text import (
    cause_words,
    fine_problems,
    forecast_words,
    headline,
    healthy_sentence,
    told_causes,
    tone_of,
    unchecked_problems,
    where_and_when,
)
from isometry.report.words import counted, measured, notes_of, number, plural, run_line, titled

__all__ = ["agenda", "checks", "findings", "gallery", "header", "page", "verdict"]


def page(diagnosis: Diagnosis) -> str:
    """The whole page."""
    run = diagnosis.run
    pictures = album(diagnosis)
    body = [
        header(run_line(run)),
        '<main id="main">',
        _verdict(diagnosis),
        *findings(diagnosis, pictures.proofs),
        *gallery("The training in pictures", pictures.others, len(diagnosis.findings)),
        _layers(run),
        checks(diagnosis, pictures.missing),
        _provenance(run),
        "</main>",
    ]
    title = f"{run.name} · isometry: {headline(diagnosis)}"
    return document(title, body, skip="Skip to the verdict")


# Above ----------------------------------------------------------------------------------------------------------------


def header(facts: Iterable[str]) -> str:
    """The line on top."""
    told = "".join(f'<span class="fact">{safe(fact)}</span>' for fact in facts)
    return f'<header><span class="mark">isometry</span>{told}</header>'


def _verdict(diagnosis: Diagnosis) -> str:
    lead = healthy_sentence(diagnosis) if diagnosis.healthy else diagnosis.findings[0].summary
    return verdict(tone_of(diagnosis), headline(diagnosis), [lead, *notes_of(diagnosis.run)], agenda(diagnosis))


def verdict(tone: str, title: str, leads: Iterable[str], after: str = "", *, badge: str = "") -> str:
    """What the page says, before it says why.

    Args:
        tone: name of a severity, or ``HEALTHY``; gives the colour.
        title: the verdict in one line.
        leads: the sentences beneath.
        after: a piece of HTML that follows.
        badge: the word beside the colour; the tone if empty.
    """
    told = "".join(f'<p class="lead">{safe(lead)}</p>' for lead in leads)
    return (
        f'<section class="verdict {tone}"><span class="severity">{safe(badge or tone)}</span>'
        f"<h1>{safe(title)}</h1>{told}{after}</section>"
    )


def agenda(diagnosis: Diagnosis) -> str:
    """Links to the findings, where there are several."""
    if len(diagnosis.findings) < 2:
        return ""
    order = diagnosis.run.architecture.names
    entries = []
    for place, finding in enumerate(diagnosis.findings, start=1):
        severity = Severity(finding.severity).name
        where = where_and_when(finding, order)[0]
        entries.append(
            f'<li class="{severity}"><b>{severity}</b> <a href="#finding-{place}">{safe(titled(finding))}</a>'
            f" {safe(where)}</li>"
        )
    return f'<ul class="agenda">{"".join(entries)}</ul>'


# Findings and pictures ------------------------------------------------------------------------------------------------


def findings(diagnosis: Diagnosis, proofs: Sequence[Chart | None]) -> Iterable[str]:
    """Every finding, beside the picture that proves it."""
    order = diagnosis.run.architecture.names
    if diagnosis.findings:
        yield '<section aria-label="Findings" style="margin-top:3rem">'
    for place, (finding, proof) in enumerate(zip(diagnosis.findings, proofs, strict=True), start=1):
        severity = Severity(finding.severity).name
        name = titled(finding)
        picture = figure(proof, f"picture-{place}", width=660) if proof is not None else ""
        yield (
            f'<article class="finding {severity}{" pictured" if picture else ""}" id="finding-{place}" '
            f'aria-labelledby="title-{place}"><div>'
            f'<span class="severity">{severity}</span><h2 id="title-{place}">{safe(name[:1].upper() + name[1:])}</h2>'
            f'<p class="where">{safe(" · ".join(where_and_when(finding, order)))}</p>'
            f'<p class="summary">{safe(finding.summary)}</p>{_why(finding)}{_evidence(finding.evidence)}</div>'
            f"{picture}</article>"
        )
    if diagnosis.findings:
        yield "</section>"


def _why(finding: Finding) -> str:
    parts = []
    if finding.causes:
        causes = "".join(f"<li>{safe(cause_words(cause))}</li>" for cause in told_causes(finding))
        parts.append(f"<dt>because</dt><dd><ul>{causes}</ul></dd>")
    if finding.consequence:
        parts.append(f"<dt>so</dt><dd>{safe(finding.consequence)}</dd>")
    if forecast_words(finding):
        parts.append(f"<dt>helps</dt><dd>{safe(forecast_words(finding))}</dd>")
    return f'<dl class="why">{"".join(parts)}</dl>' if parts else ""


def _evidence(evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return ""
    table = Table(
        ("measured", "value", "limit", "unit", "source of the limit"),
        tuple((e.quantity, number(e.measured), number(e.limit), e.unit, e.source) for e in evidence),
    )
    return f'<details class="evidence"><summary>Evidence</summary>{tabulate(table, "Evidence")}</details>'


def gallery(title: str, charts: Sequence[Chart], offset: int) -> Iterable[str]:
    """Pictures side by side, numbered on the page from ``offset`` on."""
    if charts:
        yield f'<section aria-labelledby="pictures"><h2 id="pictures">{safe(title)}</h2><div class="gallery">'
        yield from (figure(chart, f"picture-{offset + k}", width=540) for k, chart in enumerate(charts, start=1))
        yield "</div></section>"


# Tables and facts -----------------------------------------------------------------------------------------------------


def _layers(run: Run) -> str:
    layers = list(run.architecture)
    if not layers:
        return ""
    table = layer_table(run)
    shown = " open" if len(layers) <= 16 else ""
    return (
        '<section aria-labelledby="layers"><h2 id="layers">Layers</h2>'
        f"<details{shown}><summary>{plural(len(layers), 'layer')}, input first</summary>"
        f"{tabulate(table, 'Layers')}</details></section>"
    )


def layer_table(run: Run) -> Table:
    """What each layer is and how it fared, at the first and at the last recorded step."""
    columns = ["layer", "type", "weight", "φ"]
    values: list[list[str]] = []
    delta, weight, update = (optional(run, signal, "rms") for signal in (Signal.DELTA, Signal.WEIGHT, Signal.UPDATE))
    nan = optional(run, Signal.DELTA, "nan")
    if delta is not None and np.isfinite(delta).any():
        rows = telling_rows(delta, run.history.steps)
        for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
            columns.append(f"δ, step {int(run.history.steps[row]):,}")
            broken = np.zeros(delta.shape[1], dtype=bool) if nan is None else nan[row] > 0
            values.append(["NaN" if flag else measured(float(v)) for v, flag in zip(delta[row], broken, strict=True)])
    if weight is not None and update is not None:
        values.append([_middle(w, u) for w, u in zip(weight.T, update.T, strict=True)])
        columns.append("update ratio, median")
    columns.append("remarks")
    rows_ = [
        (layer.name, layer.type, _shape(layer), layer.activation or "", *(part[k] for part in values), _remarks(layer))
        for k, layer in enumerate(run.architecture)
    ]
    return Table(tuple(columns), tuple(rows_))


def _middle(weight: Any, update: Any) -> str:
    """Median ratio of update to weight over the steps that have one."""
    logs = log10(update) - log10(weight)
    known = logs[np.isfinite(logs)]
    if known.size:
        return number(float(10 ** np.median(known)))
    return "0" if np.any(update == 0) else "–"


def _shape(layer: Layer) -> str:
    return " × ".join(counted(size) for size in layer.weight_shape)


def _remarks(layer: Layer) -> str:
    said = []
    if not layer.trainable and layer.parameters:
        said.append("frozen")
    if layer.tied_to:
        said.append(f"tied to {layer.tied_to}")
    if layer.branch:
        said.append(f"in the branch to {layer.branch}")
    if layer.norm:
        said.append(f"normalised by {layer.norm}")
    if layer.calls == 0:
        said.append("never ran")
    elif layer.calls > 1:
        said.append(f"runs {layer.calls} times")
    return ", ".join(said)


def checks(diagnosis: Diagnosis, missing: Iterable[Missing]) -> str:
    """What was looked for, what could not be, and which pictures could not be made."""
    fine, unchecked = fine_problems(diagnosis), unchecked_problems(diagnosis)
    good = "".join(f"<li>{safe(name)}</li>" for name in fine) or "<li>nothing</li>"
    left = "".join(
        f'<li>{safe(", ".join(names))}: <span class="reason">{safe(reason)}</span></li>' for reason, names in unchecked
    )
    blank = "".join(
        f'<li> {safe(entry.name.replace("-", " "))}: <span class="reason">{safe(entry.reason)}</span></li>'
        for entry in missing
    )
    return (
        '<section aria-labelledby="checks"><h2 id="checks">What was checked</h2><div class="checks">'
        f'<div class="fine"><h3>Checked and fine</h3><ul>{good}</ul></div>'
        + (f'<div class="open"><h3>Not checked</h3><ul>{left}</ul></div>' if left else "")
        + (f'<div class="open"><h3>Pictures left out</h3><ul>{blank}</ul></div>' if blank else "")
        + "</div></section>"
    )


def _provenance(run: Run) -> str:
    facts: dict[str, Any] = {}
    summary = run.summary()
    for key, words in (("model", "model"), ("framework", "framework"), ("ending", "ended")):
        if summary.get(key):
            facts[words] = summary[key]
    if isinstance(summary.get("elapsed"), int | float) and math.isfinite(summary["elapsed"]):
        facts["training time"] = f"{number(float(summary['elapsed']))} s"
    for place, note in enumerate(run.architecture.notes, start=1):
        facts[f"not seen ({place})"] = note
    facts.update({str(key): value for key, value in run.provenance.items()})
    if not facts:
        return ""
    entries = "".join(f"<dt>{safe(key)}</dt><dd>{safe(_plain(value))}</dd>" for key, value in facts.items())
    return (
        '<section aria-labelledby="provenance"><h2 id="provenance">Where this run comes from</h2>'
        f'<dl class="facts">{entries}</dl></section>'
    )


def _plain(value: Any) -> str:
    """A provenance entry in one line."""
    value = strict(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return " ".join(_plain(entry) for entry in value)
    return "yes" if value is True else "no" if value is False else "–" if value is None else str(value)
