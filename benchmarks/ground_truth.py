"""Is each case what its label says? Runs all of them unwatched and compares scores with targets.

python benchmarks/ground_truth.py [--seeds 3] [--only WORD] [--held-out] [--ladders]
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.twins import CASES, LADDERS, held_out
from tests.twins.case import Case, finish, is_true, start


def measure(case: Case, seeds: int) -> tuple[list[float], float]:
    """Scores by seed and seconds for one of them."""
    began = time.perf_counter()
    scores = [finish(start(case, seed)) for seed in range(seeds)]
    return scores, (time.perf_counter() - began) / seeds


def main() -> None:
    """Print one line a case; exit code 1 where a label does not hold on most seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--ladders", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = CASES
    if options.held_out:
        cases = held_out.CASES
    if options.ladders:
        cases = [rung for ladder in LADDERS for rung in ladder.rungs()]
    wrong = 0
    for case in cases:
        if options.only not in case.name:
            continue
        scores, seconds = measure(case, options.seeds)
        borne_out = sum(is_true(case, score) for score in scores)
        holds = borne_out >= 2 * options.seeds / 3
        wrong += not holds
        words = "holds" if holds else "DOES NOT HOLD"
        if options.ladders:
            words = f"{sum(score >= case.target for score in scores)} of {len(scores)} train"
        shown = " ".join(f"{score:8.3g}" for score in scores)
        print(f"{words:14s} {seconds:5.1f} s  target {case.target:6.3g}  {shown}  {case.name}", flush=True)
    sys.exit(bool(wrong) and not options.ladders)


if __name__ == "__main__":
    main()
