"""Draws the README's picture: δ by depth for two of the examples, which differ in one thing.

It runs ``examples/deep_sigmoid.py`` and ``examples/deep_relu.py`` under ``isometry run`` and reads their first step.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import isometry
from isometry import Run, Signal

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).with_name("two-networks.svg")
NETWORKS = {"sigmoid": ("deep_sigmoid.py", "#b3470f", "o"), "ReLU, He initialisation": ("deep_relu.py", "#1f5fa8", "s")}
BESIDE = {"sigmoid": (28, -12), "ReLU, He initialisation": (0, 8)}
"""Where each label stands from its line. [points]"""


def watched(script: str, folder: Path) -> Run:
    """The run of one epoch of an example."""
    command = ["run", "--no-report", "--fail-on", "never", "--out", str(folder), str(ROOT / "examples" / script)]
    subprocess.run([sys.executable, "-m", "isometry", *command, "--epochs", "1"], check=True, stdout=subprocess.DEVNULL)
    return isometry.load(folder)


def picture(runs: dict[str, Run]) -> Figure:
    """log10 rms δ at the first step, one line for each network, the input side left."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for label, run in runs.items():
        delta = run.history[Signal.DELTA, "rms"][0]
        _, colour, marker = NETWORKS[label]
        depth = np.arange(1, len(delta) + 1)
        axes.semilogy(depth, delta, color=colour, marker=marker, markersize=4, linewidth=1.5)
        axes.annotate(
            label, (depth[3], delta[3]), xytext=BESIDE[label], textcoords="offset points", color=colour, ha="center"
        )
    axes.set_xlabel("layer, input first")
    axes.set_ylabel("rms of ∂L/∂z, first step")
    axes.set_xticks(depth)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    matplotlib.rcParams["svg.hashsalt"] = "isometry"
    with tempfile.TemporaryDirectory() as folder:
        runs = {label: watched(script, Path(folder) / script) for label, (script, _, _) in NETWORKS.items()}
        picture(runs).savefig(PICTURE, metadata={"Date": None}, facecolor="white")
    print(PICTURE)


if __name__ == "__main__":
    main()
