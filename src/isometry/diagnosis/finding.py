"""What a rule says: a problem, where it sits, how sure one is, and the evidence."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from isometry.history.run import Run
from isometry.network.edits import NetworkEdit, edit_facts
from isometry.shown import Shown

__all__ = ["AS_IT_IS", "PROBLEMS", "Cause", "Diagnosis", "Evidence", "Finding", "Forecast", "NotChecked", "Severity"]

PROBLEMS = (
    "vanishing_gradient",
    "exploding_gradient",
    "dead_units",
    "saturated_activation",
    "poor_initialization",
    "non_finite",
    "learning_rate_too_high",
    "learning_rate_too_low",
    "unscaled_input",
    "no_gradient",
    "loss_not_decreasing",
    "loss_spike",
    "precision_underflow",
    "precision_overflow",
)
"""Names of the problems that the rules of this version tell apart. A name once used is never changed."""

AS_IT_IS = "as it is"
"""Name of the forecast, or the counterfactual, without a change."""


class Severity(IntEnum):
    """What happens if nothing is done."""

    NOTE = 0
    SLOWS = 1
    HARMS = 2
    STOPS = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measured number beside the limit that it was held against."""

    quantity: str
    """What was measured, in words: ``slope of log10 ‖δ‖``."""
    measured: float
    limit: float | None = None
    unit: str = ""
    reads: tuple[tuple[str, str], ...] = ()
    """(signal, statistic) columns that it was computed from."""
    source: str = ""
    """Where the limit comes from."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "quantity": self.quantity,
            "measured": self.measured,
            "limit": self.limit,
            "unit": self.unit,
            "reads": [list(pair) for pair in self.reads],
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of what went wrong, in decades where decades can be told."""

    name: str
    """``weight scale``, ``slope of sigmoid`` …"""
    decades: float | None
    """Its share of log10 gain along depth; negative where it shrinks the signal. Shares of one finding add."""
    words: str
    """The sentence for the reader."""
    layers: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "decades": self.decades, "words": self.words, "layers": list(self.layers)}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What mean field expects of one change."""

    name: str
    """``He + ReLU``"""
    edits: tuple[NetworkEdit, ...]
    decades: float
    """log10 of ‖δ‖ at the first layer over that at the last, with this change at the start of the training."""

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "edits": [edit_facts(edit) for edit in self.edits], "decades": self.decades}


@dataclass(frozen=True, slots=True)
class Finding(Shown):
    """One problem found in a run."""

    severity: Severity
    summary: str
    """One sentence with layer and number."""
    layers: tuple[str, ...] = ()
    """The layers concerned, input first; empty where the whole run is meant."""
    first_step: int | None = None
    causes: tuple[Cause, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    consequence: str = ""
    """What it means for this training, in one sentence."""
    forecasts: tuple[Forecast, ...] = ()
    """Single changes to the network, the most promising first; empty where theory has no say."""
    problem: str = ""
    """One of ``PROBLEMS``; the rule's decorator fills it in."""
    title: str = ""
    """What a reader is told in place of the problem's name, where that would say too little; likewise."""
    code: str = ""
    """The rule's own code, finer than the problem; filled in by the decorator."""
    confidence: float = 0.0
    """Precision of the rule as measured on the twins; filled in by the decorator unless the rule lowers it."""
    follows: tuple[str, ...] = ()
    """Codes of the findings of the same diagnosis that this one is a consequence of; filled in by ``diagnose``."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "problem": self.problem,
            "code": self.code,
            "severity": self.severity.name,
            "confidence": self.confidence,
            "layers": list(self.layers),
            "first_step": self.first_step,
            "summary": self.summary,
            "consequence": self.consequence,
            "follows": list(self.follows),
            "causes": [cause.to_dict() for cause in self.causes],
            "forecasts": [forecast.to_dict() for forecast in self.forecasts],
            "evidence": [piece.to_dict() for piece in self.evidence],
        }


@dataclass(frozen=True, slots=True)
class NotChecked:
    """A problem that could not be looked for, and why."""

    problem: str
    code: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {"problem": self.problem, "code": self.code, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Diagnosis(Shown):
    """Everything that the rules say about one run."""

    findings: tuple[Finding, ...]
    """Worst first; causes before what follows from them."""
    checked: tuple[str, ...]
    """Problems that were looked for."""
    not_checked: tuple[NotChecked, ...]
    run: Run

    @property
    def healthy(self) -> bool:
        """No finding that slows, harms or stops training."""
        return all(finding.severity < Severity.SLOWS for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": "isometry/diagnosis/1",
            "healthy": self.healthy,
            "run": self.run.summary(),
            "findings": [finding.to_dict() for finding in self.findings],
            "checked": list(self.checked),
            "not_checked": [entry.to_dict() for entry in self.not_checked],
        }
