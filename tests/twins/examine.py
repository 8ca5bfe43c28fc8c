"""Train a case under the watch, as a user would do it, and keep what the diagnosis says."""

import shutil
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import isometry

from .case import Case, finish, is_true, start

__all__ = ["Outcome", "examine", "verdict"]

GRAVE = isometry.Severity.SLOWS


@dataclass(frozen=True)
class Outcome:
    """What one training of one case came to."""

    name: str
    problem: str | None
    accept: tuple[str, ...]
    seed: int
    score: float
    borne_out: bool
    """Whether the measured score agrees with the label."""
    findings: tuple[tuple[str, str, str, str, tuple[str, ...]], ...]
    """(problem, code, severity, summary, codes that it follows from), worst first."""
    seconds: float
    diagnosis_seconds: float
    fault: str = ""
    """What isometry itself stumbled over."""

    @property
    def grave(self) -> list[str]:
        """Problems that are said to slow, harm or stop this training, worst first."""
        return [problem for problem, _, severity, *_ in self.findings if isometry.Severity[severity] >= GRAVE]

    @property
    def judged(self) -> dict[str, bool]:
        """For each code told as grave whether it is right: an answer that counts, or a consequence of one."""
        told = {code: problem for problem, code, severity, *_ in self.findings if isometry.Severity[severity] >= GRAVE}
        behind = {code: follows for _, code, _, _, follows in self.findings}
        right = {code for code, problem in told.items() if self.problem and problem in self.right}
        for _ in told:
            right |= {code for code in told if right & set(behind[code])}
        return {code: code in right for code in told}

    @property
    def right(self) -> set[str]:
        """The answers that count."""
        return {self.problem or "", *self.accept}


def examine(case: Case, seed: int) -> Outcome:
    """Train one case under the watch, diagnose it, throw the run away."""
    folder = Path(tempfile.mkdtemp(prefix="isometry-recall-"))
    began = time.perf_counter()
    score, findings, fault, diagnosis_seconds = float("nan"), [], "", 0.0
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            training = start(case, seed)
            optimizers = training.optimizers
            lead = None if not optimizers else optimizers[0] if len(optimizers) == 1 else list(optimizers)
            with isometry.watch(training.model, lead, run=folder / "run") as watch:
                score = finish(training)
            before = time.perf_counter()
            diagnosis = isometry.diagnose(watch.run)
            diagnosis_seconds = time.perf_counter() - before
        findings = [
            (finding.problem, finding.code, finding.severity.name, finding.summary, finding.follows)
            for finding in diagnosis.findings
        ]
        fault = "; ".join({str(each.message)[:200] for each in caught if "isometry" in str(each.message).lower()})
    except Exception:  # noqa: BLE001 - a crash is a result here: it is counted and shown
        fault = traceback.format_exc(limit=-3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(
        case.name,
        case.problem,
        tuple(sorted(case.accept)),
        seed,
        score,
        is_true(case, score),
        tuple(findings),
        time.perf_counter() - began,
        diagnosis_seconds,
        fault,
    )


def verdict(outcome: Outcome) -> str:
    """One word for one outcome."""
    if not outcome.borne_out:
        return "left out"
    if outcome.problem is None:
        return "false alarm" if outcome.grave else "silent"
    if outcome.problem in outcome.grave:
        return "found"
    if outcome.right & set(outcome.grave):
        return "accepted"
    return "other" if outcome.grave else "missed"
