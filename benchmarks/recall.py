"""How often each problem is found, and how often a healthy training is accused.

    python benchmarks/recall.py [--seeds 3] [--only WORD] [--skip-held-out] [--write docs/recall.md] [--save FILE.json]

Every case is trained under `isometry.watch` as a user would do it, then diagnosed. Its label is checked in the same
run: a sick case that reached its target, or a healthy one that missed it, is left out of the count for that seed.
"""

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch

import isometry

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.twins import CASES, LADDERS, held_out
from tests.twins.case import Case, finish, is_true, start

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
    findings: tuple[tuple[str, str, str, str], ...]
    """(problem, code, severity, summary), worst first."""
    seconds: float
    diagnosis_seconds: float
    fault: str = ""
    """What isometry itself stumbled over."""

    @property
    def grave(self) -> list[str]:
        """Problems that are said to slow, harm or stop this training, worst first."""
        return [problem for problem, _, severity, _ in self.findings if isometry.Severity[severity] >= GRAVE]

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
            (finding.problem, finding.code, finding.severity.name, finding.summary) for finding in diagnosis.findings
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


def examine_all(cases: Iterable[Case], seeds: Iterable[int], say: Callable[[str], None]) -> list[Outcome]:
    """All cases, all seeds, one after the other."""
    outcomes = []
    seeds = list(seeds)
    for case in cases:
        for seed in seeds:
            outcome = examine(case, seed)
            outcomes.append(outcome)
            mark = "fault" if outcome.fault else verdict(outcome)
            found = ", ".join(f"{code} {problem} {severity}" for problem, code, severity, _ in outcome.findings)
            say(f"{mark:12s} {outcome.seconds:5.1f} s {outcome.score:9.3g}  {case.name} #{seed}  →  {found or '—'}")
    return outcomes


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


def table(outcomes: list[Outcome]) -> list[str]:
    """Per problem: recall; then false alarms per problem on the healthy, and the confusion."""
    counted = [outcome for outcome in outcomes if outcome.borne_out and not outcome.fault]
    sick = [outcome for outcome in counted if outcome.problem]
    healthy = [outcome for outcome in counted if not outcome.problem]
    accused = Counter(problem for outcome in healthy for problem in set(outcome.grave))
    problems = sorted({outcome.problem for outcome in sick if outcome.problem} | set(accused))
    lines = [
        "| problem | sick trainings | found by name | found, equivalent names too | something found "
        "| worst finding is right | healthy trainings accused of it |",
        "|---|---|---|---|---|---|---|",
    ]
    for problem in [*problems, "all"]:
        rows = [outcome for outcome in sick if problem in ("all", outcome.problem)]
        alarms = sum(bool(outcome.grave) for outcome in healthy) if problem == "all" else accused[problem]
        lines.append(
            f"| {problem} | {len(rows)} | {share(rows, lambda one: one.problem in one.grave)} "
            f"| {share(rows, lambda one: one.right & set(one.grave))} | {share(rows, lambda one: one.grave)} "
            f"| {share(rows, lambda one: one.grave and one.grave[0] in one.right)} "
            f"| {alarms} of {len(healthy)} ({100 * alarms / max(1, len(healthy)):.1f} %) |"
        )
    left_out = [outcome for outcome in outcomes if not outcome.borne_out]
    faults = [outcome for outcome in outcomes if outcome.fault]
    cases = {outcome.name for outcome in outcomes}
    lines += [
        "",
        f"{len(cases)} cases ({len({one.name for one in outcomes if not one.problem})} healthy), "
        f"{len(outcomes)} trainings; {len(left_out)} left out because the score did not bear out the label, "
        f"{len(faults)} because isometry itself failed.",
    ]
    return lines


def confusion(outcomes: list[Outcome]) -> list[str]:
    """What is said (worst finding) of trainings with each problem."""
    cells: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        if outcome.borne_out and not outcome.fault:
            cells[outcome.problem or "healthy"][outcome.grave[0] if outcome.grave else "nothing"] += 1
    rows = sorted(cells)
    columns = sorted({column for counts in cells.values() for column in counts})
    lines = [
        "| what it has \\ worst finding | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [f"| {row} | " + " | ".join(str(cells[row][column] or "·") for column in columns) + " |" for row in rows]
    return lines


def ladders(seeds: Iterable[int], say: Callable[[str], None]) -> list[str]:
    """Where training begins to fail, beside where the diagnosis begins to speak."""
    seeds = list(seeds)
    lines = ["| ladder | knob | trains | named | anything said |", "|---|---|---|---|---|"]
    for ladder in LADDERS:
        for case, value in zip(ladder.rungs(), ladder.values, strict=True):
            outcomes = examine_all([case], seeds, say)
            trains = sum(outcome.score >= case.target for outcome in outcomes)
            named = sum(bool(outcome.right & set(outcome.grave)) for outcome in outcomes)
            said = sum(bool(outcome.grave) for outcome in outcomes)
            lines.append(
                f"| {ladder.name}: {ladder.problem} | {ladder.knob} = {value} "
                f"| {trains} of {len(outcomes)} | {named} | {said} |"
            )
    return lines


def share(rows: list[Outcome], holds: Callable[[Outcome], object]) -> str:
    """How many, and how many of a hundred."""
    if not rows:
        return "–"
    count = sum(bool(holds(row)) for row in rows)
    return f"{count} ({100 * count / len(rows):.0f} %)"


def page(sections: dict[str, list[str]], seeds: int) -> str:
    """docs/recall.md."""
    head = [
        "# Recall and false alarms",
        "",
        "Made by `python benchmarks/recall.py`; do not edit. A sick case misses a target within a budget of steps that "
        "its twin, which differs in one thing, reaches; a healthy case reaches its target. Labels are checked in each "
        "run. *Found* means a finding of severity SLOWS or above; a fault with consequences may be told by several "
        "names, which each case lists. `development` cases were seen while the rules were written; `held-out` cases "
        "(other architectures, data and seeds) were not used for any limit.",
        "",
        f"{date.today()}, seeds 0 to {seeds - 1} (held-out: 100 to {99 + seeds}), isometry {isometry.__version__}, "
        f"torch {torch.__version__}, Python {platform.python_version()}, one thread.",
    ]
    for title, lines in sections.items():
        head += ["", f"## {title}", "", *lines]
    return "\n".join(head) + "\n"


def main() -> None:
    """Train everything, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--skip-held-out", action="store_true")
    parser.add_argument("--skip-ladders", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    outcomes = examine_all([case for case in CASES if options.only in case.name], range(options.seeds), say)
    sections = {"Development": table(outcomes), "Development: worst finding": confusion(outcomes)}
    if not options.skip_held_out:
        held = examine_all(held_out.CASES, range(100, 100 + options.seeds), lambda line: None)
        sections["Held out"] = table(held)
        sections["Held out: worst finding"] = confusion(held)
    if not options.skip_ladders:
        sections["Ladders"] = ladders(range(options.seeds), say)
    if options.save:
        options.save.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1), encoding="utf-8")
    text = page(sections, options.seeds)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
