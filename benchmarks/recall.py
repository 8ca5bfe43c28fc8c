"""How often each problem is found, and how often a healthy training is accused.

    python benchmarks/recall.py [--seeds 3] [--held-out-seeds 3] [--only WORD] [--skip-held-out] [--kept FOLDER]
        [--write docs/recall.md]

Every case is trained under `isometry.watch` as a user would do it, then diagnosed. Its label is checked in the same
run: a sick case that reached its target, or a healthy one that missed it, is left out of the count for that seed.
"""

import argparse
import json
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path

import torch

import isometry
from isometry.diagnosis.rule import rules

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.twins import CASES, LADDERS, held_out
from tests.twins.case import Case
from tests.twins.examine import Outcome, examine, verdict


def examine_all(
    cases: Iterable[Case], seeds: Iterable[int], say: Callable[[str], None], kept: Path | None = None
) -> list[Outcome]:
    """All cases, all seeds, one after the other; what the file `kept` already holds is not trained again."""
    outcomes = []
    known = read(kept) if kept else {}
    for seed in seeds:
        for case in cases:
            outcome = known.get((case.name, seed))
            if outcome is None:
                outcome = examine(case, seed)
                if kept:
                    with kept.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(outcome)) + "\n")
                found = ", ".join(f"{code} {problem} {severity}" for problem, code, severity, *_ in outcome.findings)
                mark = "fault" if outcome.fault else verdict(outcome)
                say(f"{mark:12s} {outcome.seconds:5.1f} s {outcome.score:9.3g}  {case.name} #{seed}  →  {found or '—'}")
            outcomes.append(outcome)
    return outcomes


def read(path: Path) -> dict[tuple[str, int], Outcome]:
    """Outcomes kept by an earlier, perhaps unfinished, run."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        (row["name"], row["seed"]): Outcome(
            **{
                **row,
                "accept": tuple(row["accept"]),
                "findings": tuple((*each[:4], tuple(each[4])) for each in row["findings"]),
            }
        )
        for row in rows
    }


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


def precisions(outcomes: list[Outcome]) -> list[str]:
    """How often each rule is right when it says something grave: its confidence, kept in ``limits.PRECISION``."""
    made: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.borne_out and not outcome.fault:
            for code, is_right in outcome.judged.items():
                made[code] += 1
                right[code] += is_right
    lines = [
        "A finding is right if it is one of the answers that count for its case, or says that it follows from one. "
        "Precision is (right + ½) / (made + 1), Jeffreys' prior; `limits.PRECISION` holds it as the rule's confidence.",
        "",
        "| rule | problem | made | right | precision | confidence now |",
        "|---|---|---|---|---|---|",
    ]
    for rule in rules():
        share_right = (right[rule.code] + 0.5) / (made[rule.code] + 1)
        lines.append(
            f"| {rule.code} | {rule.problem} | {made[rule.code]} | {right[rule.code]} | {share_right:.2f} "
            f"| {rule.confidence:.2f} |"
        )
    return lines


def ladders(seeds: Iterable[int], say: Callable[[str], None], kept: Path | None) -> list[str]:
    """Where training begins to fail, beside where the diagnosis begins to speak."""
    seeds = list(seeds)
    lines = ["| ladder | knob | trains | named | anything said |", "|---|---|---|---|---|"]
    for ladder in LADDERS:
        for case, value in zip(ladder.rungs(), ladder.values, strict=True):
            outcomes = examine_all([case], seeds, say, kept)
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


def page(sections: dict[str, list[str]], seeds: int, held_out_seeds: int) -> str:
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
        f"{date.today()}, seeds 0 to {seeds - 1} (held-out: 100 to {99 + held_out_seeds}), "
        f"isometry {isometry.__version__}, torch {torch.__version__}, Python {platform.python_version()}, one thread.",
    ]
    for title, lines in sections.items():
        head += ["", f"## {title}", "", *lines]
    return "\n".join(head) + "\n"


def main() -> None:
    """Train everything, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out-seeds", type=int, help="as many as --seeds unless given")
    parser.add_argument("--ladder-seeds", type=int, help="as many as --seeds unless given")
    parser.add_argument("--only", default="", help="only cases with this word in their names")
    parser.add_argument("--skip-held-out", action="store_true")
    parser.add_argument("--skip-ladders", action="store_true")
    parser.add_argument("--write", type=Path, help="write the tables to this file")
    parser.add_argument("--kept", type=Path, help="a folder that keeps each outcome, so that a run can be continued")
    options = parser.parse_args()
    torch.set_num_threads(1)
    held_out_seeds = options.held_out_seeds or options.seeds
    if options.kept:
        options.kept.mkdir(parents=True, exist_ok=True)

    def file(name: str) -> Path | None:
        return options.kept / f"{name}.jsonl" if options.kept else None

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def hush(line: str) -> None:
        """Held-out cases are not read one by one."""

    cases = [case for case in CASES if options.only in case.name]
    outcomes = examine_all(cases, range(options.seeds), say, file("development"))
    sections = {"Development": table(outcomes), "Development: worst finding": confusion(outcomes)}
    sections["Development: precision of the rules"] = precisions(outcomes)
    if not options.skip_held_out:
        held = examine_all(held_out.CASES, range(100, 100 + held_out_seeds), hush, file("held-out"))
        sections["Held out"] = table(held)
        sections["Held out: worst finding"] = confusion(held)
    if not options.skip_ladders:
        sections["Ladders"] = ladders(range(options.ladder_seeds or options.seeds), say, file("ladders"))
    text = page(sections, options.seeds, held_out_seeds)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
