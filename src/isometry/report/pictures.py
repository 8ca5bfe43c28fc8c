"""Which pictures a diagnosis gets, and next to which finding each stands."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.report.chart import Chart, Heat, Line, Rule, Shape, Span
from isometry.report.plot import Plot, plots
from isometry.report.words import layer_range, titled

__all__ = ["Album", "Missing", "album", "marked"]


@dataclass(frozen=True, slots=True)
class Missing:
    """A picture that could not be made, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Album:
    """The pictures of one diagnosis."""

    proofs: tuple[Chart | None, ...]
    """For each finding the picture that proves it; None where none does, or where it stands at an earlier finding."""
    others: tuple[Chart, ...]
    missing: tuple[Missing, ...]

    @property
    def all(self) -> tuple[Chart, ...]:
        """Every picture, the proofs first."""
        return tuple(chart for chart in self.proofs if chart is not None) + self.others


def album(diagnosis: Diagnosis) -> Album:
    """Make every picture that the run allows and put it where it belongs."""
    made, missing = _made(diagnosis.run, plots())
    left = dict(made)
    proofs: list[Chart | None] = []
    for finding in diagnosis.findings:
        proof = _proof(finding, left)
        proofs.append(None if proof is None else marked(left.pop(proof), [finding], diagnosis.run))
    others = tuple(marked(chart, diagnosis.findings, diagnosis.run, spans=False) for chart in left.values())
    return Album(tuple(proofs), others, tuple(missing))


def _proof(finding: Finding, left: Iterable[Plot]) -> Plot | None:
    """The picture that names the finding's own code, else one that names its problem."""
    candidates = [item for item in left if finding.code in item.proves or finding.problem in item.proves]
    return min(candidates, key=lambda item: finding.code not in item.proves, default=None)


def _made(run: Run, chosen: Iterable[Plot]) -> tuple[dict[Plot, Chart], list[Missing]]:
    made: dict[Plot, Chart] = {}
    missing = []
    for item in chosen:
        try:
            made[item] = item(run)
        except NotRecorded as reason:
            missing.append(Missing(item.name, str(reason)))
    return made, missing


def marked(chart: Chart, findings: Iterable[Finding], run: Run, *, spans: bool = True) -> Chart:
    """The chart with the layers and the first steps of findings marked where its axes show layers or steps."""
    added: list[Shape] = []
    rules: dict[int, list[str]] = {}
    for finding in findings:
        if chart.x.scale == "layers" and spans:
            added += _spans(finding, run)
        elif _shows_steps(chart) and finding.first_step is not None and finding.first_step > _start(run):
            rules.setdefault(finding.first_step, []).append(titled(finding))
    added += [Rule(float(step), _rule_words(names)) for step, names in sorted(rules.items())]
    return replace(chart, shapes=chart.shapes + tuple(added)) if added else chart


def _start(run: Run) -> int:
    """The first recorded step: what holds since then needs no mark."""
    return int(run.history.steps[0]) if len(run.history.steps) else 0


def _rule_words(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shows_steps(chart: Chart) -> bool:
    return chart.x.words.startswith("step") and any(isinstance(shape, Line | Heat) for shape in chart.shapes)


def _spans(finding: Finding, run: Run) -> list[Span]:
    """Stretches of neighbouring layers that the finding names."""
    order = run.architecture
    at = np.array(sorted(order.index(name) for name in finding.layers if name in order), dtype=np.int64)
    if not at.size or at.size == len(order):
        return []
    words = f"{titled(finding)}: {layer_range(finding.layers, order.names, 50)}"
    parts = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return [Span(float(part[0]), float(part[-1]), words) for part in parts]
