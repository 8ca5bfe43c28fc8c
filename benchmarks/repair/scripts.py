"""Is an unmodified script treated like the experiment that it might be? ``isometry.fix`` of both, case by case.

python benchmarks/repair/scripts.py [--only WORD] [--seeds 3] [--most 3] [--write docs/repair.md]

The script, ``train.py``, trains a case of ``cases.py`` in a loop of its own, with its own seed.
"""

import argparse
import tempfile
from pathlib import Path

from cases import CASES, Case
from pages import put

import isometry
from isometry.treatment.outcome import Outcome

CHOSEN = (
    "sigmoid, 14 layers, SGD",
    "tanh, functional, N(0, 0.02²), 12 layers",
    "ReLU, PyTorch's weights, 20 layers",
    "ReLU, born dead by biases of −2",
    "rate too high for SGD",
    "rate too low for Adam",
    "pixels from 0 to 4,080, ReLU, SGD",
    "plain convolutions, 14 layers",
    "residual, 40 blocks, no norm, SGD",
    "healthy: ReLU, He, 4 layers",
    "healthy: convolutions, 3 layers",
    "healthy: GRU",
)
"""One of each kind; the others with --only."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="cases whose name has this word, instead of one of each kind")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to put the table into")
    options = parser.parse_args()
    cases = [case for case in CASES if (options.only in case.name if options.only else case.name in CHOSEN)]
    rows = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            script, experiment = both(case, options.seeds, options.most, Path(folder))
        rows.append(
            f"| {case.name} | {told(experiment)} | {told(script)} | {'yes' if alike(script, experiment) else 'no'} |"
        )
        print(rows[-1], flush=True)
    same = sum(row.endswith("yes |") for row in rows)
    head = f"{same} of {len(rows)} scripts had the verdict of their experiment ({options.seeds} seeds):"
    table = ["| case | experiment | script | same verdict |", "|---|---|---|---|", *rows]
    print(head)
    if options.write:
        put(options.write, "scripts", [head, "", *table])


def both(case: Case, seeds: int, most: int, folder: Path) -> tuple[Outcome, Outcome]:
    """The outcomes of the script and of the experiment."""
    here = Path(__file__).resolve().parent
    script = isometry.Script("train.py", (case.name,), metric=isometry.Metric("score"), folder=here)
    return (
        isometry.fix(script, seeds=seeds, most=most, folder=folder / "script"),
        isometry.fix(case.experiment, seeds=seeds, most=most, engine="serial", folder=folder / "experiment"),
    )


def told(outcome: Outcome) -> str:
    if outcome.prescription is None or outcome.verdict != "helped":
        return outcome.verdict
    best = next(arm for arm in outcome.trials if arm.prescription == outcome.prescription)
    return f"{outcome.verdict}: {outcome.prescription.remedy}, {outcome.trials[0].score:.2f} → {best.score:.2f}"


def alike(one: Outcome, other: Outcome) -> bool:
    return one.verdict == other.verdict


if __name__ == "__main__":
    main()
