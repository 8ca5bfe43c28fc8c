"""A diagnosis in words, as wide as the terminal and as calm as a good colleague."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from isometry.diagnosis import limits
from isometry.diagnosis.finding import AS_IT_IS, Cause, Diagnosis, Finding, Severity
from isometry.history.run import Run
from isometry.report.lines import INDENT, Lines
from isometry.report.words import clean, decades, layer_range, notes_of, problem, run_line, titled
from isometry.shown import presents

__all__ = [
    "cause_words",
    "checked_facts",
    "diagnosis_text",
    "finding_text",
    "fine_problems",
    "forecast_words",
    "headline",
    "healthy_sentence",
    "run_text",
    "said_first",
    "tell",
    "terminal_width",
    "told_causes",
    "tone_of",
    "unchecked_problems",
    "wants_colour",
    "where_and_when",
]

WIDEST = 110
"""Signs in the longest line: longer ones are hard to read, however wide the terminal."""
NARROWEST = 50

HEADLINES = {
    "vanishing_gradient": "The gradient vanishes",
    "exploding_gradient": "The gradient explodes",
    "dead_units": "Units are dead",
    "saturated_activation": "Activations are saturated",
    "poor_initialization": "The weights start out of scale",
    "non_finite": "Numbers are no longer finite",
    "learning_rate_too_high": "The learning rate is too high",
    "learning_rate_too_low": "The learning rate is too low",
    "unscaled_input": "Inputs are out of scale",
    "no_gradient": "Parameters receive no gradient",
    "loss_not_decreasing": "The loss does not fall",
    "loss_spike": "The loss jumps",
    "unscaled targets": "Targets are out of scale",
    "answers out of reach": "The output cannot give what the loss asks for",
}
"""Each problem as a short sentence, by its name or its title."""


def wants_colour(stream: IO[str] | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is to be coloured: ``NO_COLOR`` forbids, ``FORCE_COLOR`` asks, else a terminal decides."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    stream = sys.stdout if stream is None else stream
    return environment.get("TERM") != "dumb" and stream.isatty()


def terminal_width() -> int:
    """Signs in a line of the terminal, within what reads well."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((100, 24)).columns))


def diagnosis_text(
    diagnosis: Diagnosis, *, width: int | None = None, colour: bool = False, closing: Sequence[tuple[str, str]] = ()
) -> str:
    """Everything that a diagnosis says, worst first.

    Args:
        diagnosis: what to tell
        width: signs in a line; the terminal's if left out
        colour: put ANSI colours in; the words say the same without
        closing: (label, words) pairs for the last line, e.g. ``("report", "runs/first/report.html")``
    """
    lines = Lines(width or terminal_width(), colour)
    order = diagnosis.run.architecture.names
    lines.facts("isometry", run_line(diagnosis.run))
    lines.blank()
    if diagnosis.healthy:
        lines.wrapped(lines.styled("healthy", "HEALTHY"), healthy_sentence(diagnosis), hanging="")
        lines.blank()
    for finding in diagnosis.findings:
        tell(lines, finding, order)
        lines.blank()
    for note in notes_of(diagnosis.run):
        lines.wrapped("note", clean(note), hanging="      ")
        lines.blank()
    lines.facts("", checked_facts(diagnosis), joint="   ·   ", breaks=True)
    if closing:
        lines.facts("", [f"{lines.styled('quiet', label)}  {clean(words)}" for label, words in closing], joint=" " * 8)
    return lines.text()


def finding_text(finding: Finding, *, width: int | None = None, colour: bool = False, order: Sequence[str] = ()) -> str:
    """One finding as it stands in a diagnosis."""
    lines = Lines(width or terminal_width(), colour)
    tell(lines, finding, order or finding.layers)
    return lines.text()


def run_text(run: Run, *, width: int | None = None, colour: bool = False) -> str:
    """What a run holds, in a few lines."""
    lines = Lines(width or terminal_width(), colour)
    summary, names = run.summary(), run.architecture.names
    lines.facts("isometry", run_line(run))
    model = " · ".join(clean(str(summary[key])) for key in ("model", "framework") if summary.get(key))
    extent = layer_range(names, names) if names else "none"
    lines.labelled("model", model or "unknown")
    lines.labelled("layers", f"{len(names):,}: {extent}" if names else "none")
    signals = dict.fromkeys(str(signal).replace("_", " ") for signal, _ in run.history.columns)
    lines.labelled("recorded", ", ".join(signals) or "nothing")
    if run.history.scalars:
        lines.labelled("curves", ", ".join(clean(name) for name in run.history.scalars))
    return lines.text()


def healthy_sentence(diagnosis: Diagnosis) -> str:
    """The calm sentence for a run in which nothing slows, harms or stops training."""
    count = len(diagnosis.checked)
    if not count:
        return "Nothing could be checked, so nothing can be said."
    sentence = f"Nothing that slows, harms or stops this training: {count} kinds of problem were looked for."
    notes = len(diagnosis.findings)
    if notes:
        sentence += " One note follows." if notes == 1 else f" {notes} notes follow."
    return sentence


def headline(diagnosis: Diagnosis) -> str:
    """The verdict in one line."""
    if diagnosis.healthy:
        return "This training is healthy" if diagnosis.checked else "Nothing could be checked"
    return said_first(diagnosis.findings[0])


def said_first(finding: Finding) -> str:
    """The worst finding as a short sentence."""
    return HEADLINES.get(finding.title or finding.problem, titled(finding).capitalize())


ROUNDS_TO_NOTHING = 0.05
"""Causes of fewer decades are part of the sum, but no part of the answer."""


def told_causes(finding: Finding) -> list[Cause]:
    """The causes that are worth a line; all of them where none is larger."""
    told = [cause for cause in finding.causes if cause.decades is None or abs(cause.decades) >= ROUNDS_TO_NOTHING]
    return told or list(finding.causes)


def cause_words(cause: Cause) -> str:
    """A cause with its decades, which are said once."""
    if cause.decades is None or "decade" in cause.words:
        return clean(cause.words)
    return f"{decades(cause.decades)} decades: {clean(cause.words)}"


MOST_FORECASTS = 3
"""Changes that a finding tells of; all of them stand in its JSON."""


def forecast_words(finding: Finding) -> str:
    """The most promising changes with what is left of the loss or growth of δ, and the one that helps least."""
    present = next((one.decades for one in finding.forecasts if one.name == AS_IT_IS), None)
    if present is None:
        return ""
    changes = [one for one in finding.forecasts if one.name != AS_IT_IS]
    helps = [one for one in changes if abs(one.decades) < limits.HELPS.value * abs(present)][:MOST_FORECASTS]
    if not helps:
        return ""
    amounts = [f"{one.name} ({decades(one.decades)})" for one in helps]
    amounts[0] = f"{helps[0].name} (predicted {decades(helps[0].decades)} decades)"
    worst = changes[-1]
    if abs(worst.decades) >= limits.HELPS.value * abs(present):
        amounts.append(f"not: {worst.name} ({decades(worst.decades)})")
    return " · ".join(amounts)


def tone_of(diagnosis: Diagnosis) -> str:
    """The worst severity as a word; ``HEALTHY`` where nothing slows, harms or stops training."""
    return "HEALTHY" if diagnosis.healthy else Severity(diagnosis.findings[0].severity).name


def where_and_when(finding: Finding, order: Sequence[str], width: int = 60) -> list[str]:
    """Layers, first step and confidence, as far as they are known."""
    said = [layer_range(finding.layers, order, width)]
    if finding.first_step is not None:
        said.append(f"since step {finding.first_step:,}")
    if finding.confidence > 0:
        said.append(f"confidence {finding.confidence:.2f}")
    return said


def fine_problems(diagnosis: Diagnosis) -> list[str]:
    """Problems that were looked for and of which there is no sign."""
    found = {finding.problem for finding in diagnosis.findings}
    return [problem(name) for name in diagnosis.checked if name not in found]


def unchecked_problems(diagnosis: Diagnosis) -> list[tuple[str, list[str]]]:
    """(reason, problems) of what could not be looked for; problems that share a reason stand together.

    A problem bears the codes of its rules where the problem alone would mislead: another of its rules did look for it,
    or could not for another reason.
    """
    grouped: dict[str, dict[str, list[str]]] = {}
    reasons: dict[str, set[str]] = {}
    for entry in diagnosis.not_checked:
        reason = clean(entry.reason)
        grouped.setdefault(reason, {}).setdefault(entry.problem, []).append(entry.code)
        reasons.setdefault(entry.problem, set()).add(reason)
    partly = {name for name, given in reasons.items() if len(given) > 1} | set(diagnosis.checked)
    return [
        (reason, [_unchecked_name(name, codes if name in partly else ()) for name, codes in names.items()])
        for reason, names in grouped.items()
    ]


def _unchecked_name(name: str, codes: Sequence[str]) -> str:
    """``poor initialization``, ``poor initialization W101``, ``poor initialization W101 and W102``."""
    return " ".join((problem(name), " and ".join(codes))).rstrip()


def checked_facts(diagnosis: Diagnosis) -> list[str]:
    """What was looked for without a find, and what could not be looked for and why."""
    said = []
    fine = fine_problems(diagnosis)
    if fine:
        said.append(f"checked and fine: {', '.join(fine)}")
    unchecked = unchecked_problems(diagnosis)
    if unchecked:
        reasons = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in unchecked)
        said.append(f"not checked: {reasons}")
    return said


def tell(lines: Lines, finding: Finding, order: Sequence[str]) -> None:
    """Write a finding: title, summary, causes, what it means, forecasts. ``order``: all layers, input first."""
    severity = Severity(finding.severity).name
    title = f"{lines.styled(severity, severity)}  {lines.styled('strong', titled(finding) or 'finding')}"
    lines.titled(title, ", ".join(where_and_when(finding, order, width=lines.width - 40)))
    lines.wrapped("", clean(finding.summary), hanging=INDENT, indent=INDENT)
    label = "because"
    for cause in told_causes(finding):
        lines.labelled(label, cause_words(cause))
        label = ""
    if finding.consequence:
        lines.labelled("so", clean(finding.consequence))
    if forecast_words(finding):
        lines.labelled("helps", clean(forecast_words(finding)))


@presents(Diagnosis)
def _present_diagnosis(diagnosis: Diagnosis) -> str:
    return diagnosis_text(diagnosis)


@presents(Finding)
def _present_finding(finding: Finding) -> str:
    return finding_text(finding)


@presents(Run)
def _present_run(run: Run) -> str:
    return run_text(run)
