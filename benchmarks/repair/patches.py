"""Does a script that was patched by hand reach what the treated one reached?

python benchmarks/repair/patches.py [--only WORD] [--seeds 3] [--most 3] [--write docs/repair.md]

Each script is fixed while it runs; then the diff that the outcome tells is applied to a copy of its files with
``patch -p0``, and the copy is trained from the same seeds without any change of ours.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import put

import isometry
from isometry.adapters.script_trainer import ScriptTrainer, placed
from isometry.network.script import Script
from isometry.network.trial import Course
from isometry.treatment.contrast import contrast
from isometry.treatment.outcome import Arm
from isometry.treatment.source import REST

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
CASES = {
    "Sequential from a loop": (EXAMPLES, "deep_sigmoid.py", ("--epochs", "4")),
    "one module for all φ, trainer class": (HERE / "by_hand", "shared.py", ()),
    "φ called in forward()": (HERE / "by_hand", "called.py", ()),
    "network in another file, convolutions": (HERE / "by_hand", "images.py", ()),
    "module level, scheduled rate": (HERE / "by_hand", "steep.py", ()),
}
COLUMNS = "| script | remedy | untreated | treated | patched | patched − treated, seed by seed | lines | left | alike |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name has this word")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to put the table into")
    options = parser.parse_args()
    rows = []
    for name in (name for name in CASES if options.only in name):
        with tempfile.TemporaryDirectory() as place:
            rows.append(row(name, options.seeds, options.most, Path(place)))
        print(rows[-1], flush=True)
    alike, other = (sum(row.endswith(f"{word} |") for row in rows) for word in ("yes", "no"))
    head = (
        f"{alike} of {alike + other} patched scripts scored like the treated ones ({options.seeds} seeds): the "
        "interval of the differences holds 0, or the mean lies between the lowest and the highest treated score. "
        f"Scripts for which what helped has no place in the source: {len(rows) - alike - other}."
    )
    print(head)
    if options.write:
        put(options.write, "patches", [head, "", COLUMNS, "|" + "---|" * (COLUMNS.count("|") - 1), *rows])


def row(name: str, seeds: int, most: int, place: Path) -> str:
    """One line of the table: the outcome, and what the patched copy scores."""
    folder, file, arguments = CASES[name]
    script = Script(file, arguments, metric=isometry.Metric("accuracy"), folder=folder)
    outcome = isometry.fix(script, seeds=seeds, most=most, folder=place / "study")
    untreated = scores(outcome.trials[0].courses)
    arms = [arm for arm in outcome.trials[1:] if helped_by_a_diff(arm)]
    best = next((arm for arm in arms if arm.prescription == outcome.prescription), arms[0] if arms else None)
    if best is None or best.prescription is None:
        return f"| {name} | {outcome.verdict} | {untreated} | | | | | {'all' if outcome.patch else ''} | |"
    patch = best.prescription.patch
    copy = patched(folder, patch, place)
    trainer = ScriptTrainer(placed(Script(file, arguments, metric=script.metric, folder=copy)), place / "by-hand")
    courses = [trainer.train((), seed=course.seed, run=None) for course in best.courses]
    alone(copy, file, arguments)
    diff, _, rest = patch.partition(REST)
    lines = sum(line.startswith(("+", "-")) and not line.startswith(("+++", "---")) for line in diff.splitlines())
    differences = ", ".join(f"{mine.score - its.score:+.3f}" for mine, its in zip(courses, best.courses, strict=True))
    return (
        f"| {name} | {best.prescription.remedy} | {untreated} | {scores(best.courses)} | {scores(courses)} "
        f"| {differences} | {lines} | {'some' if rest else ''} | {'yes' if is_alike(courses, best) else 'no'} |"
    )


def patched(folder: Path, diff: str, place: Path) -> Path:
    """A copy of a script's folder with the diff applied."""
    copy = place / "patched"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    subprocess.run(["patch", "-p0", "--binary"], input=diff.encode(), cwd=copy, check=True, capture_output=True)
    return copy


def alone(folder: Path, file: str, arguments: tuple[str, ...]) -> None:
    """The patched script must end well as a program of its own."""
    subprocess.run([sys.executable, file, *arguments], cwd=folder, check=True, capture_output=True)


def helped_by_a_diff(arm: Arm) -> bool:
    """The best arm's change may have no place in the files; then another one that helped is looked at."""
    helped = arm.contrast is not None and arm.contrast.verdict == "helped" and not arm.stopped
    return helped and arm.prescription is not None and arm.prescription.patch.startswith("--- ")


def is_alike(courses: list[Course], best: Arm) -> bool:
    mean = sum(course.score for course in courses) / len(courses)
    reached = [course.score for course in best.courses]
    return min(reached) <= mean <= max(reached) or contrast(courses, best.courses).verdict == "no difference"


def scores(courses: tuple[Course, ...] | list[Course]) -> str:
    """``0.90 … 0.95``, lowest and highest."""
    values = sorted(course.score for course in courses)
    return f"{values[0]:.3f} … {values[-1]:.3f}"


if __name__ == "__main__":
    main()
