"""How long a large run takes to be read, diagnosed and reported, and how much memory that needs.

    python benchmarks/large_run.py [--layers 500] [--steps 20000] [--folder DIR] [--keep]

Generates the run (some 3 GB for 500 layers × 20,000 steps) with a healthy, noisy, learning network's numbers, then
does the work in fresh processes and prints what the operating system says that they took. Ends with 1 where diagnosing
and reporting together take more than 30 s or 1.5 GB.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from isometry.history.recorder import Recorder
from isometry.network.architecture import Architecture, Layer
from isometry.network.signals import MOMENTS, Signal

SECONDS_ALLOWED = 30.0
BYTES_ALLOWED = 1.5e9
EXTRA = (
    (Signal.PRE_ACTIVATION, "spread"),
    (Signal.ACTIVATION, "dead"),
    (Signal.ACTIVATION, "units"),
    (Signal.ACTIVATION, "seen"),
    (Signal.SLOPE, "saturated"),
    (Signal.UPDATE, "applied"),
)
ELEMENTS = 4096
LEVELS = {Signal.DELTA: 1e-4, Signal.WEIGHT_GRADIENT: 1e-3, Signal.UPDATE: 1e-4, Signal.WEIGHT: 0.05}

READ = """
import isometry.history.store as store
run = store.open_run(FOLDER)
total = 0.0
for column in run.history.columns[:25]:
    total += float(run.history[column][-1, 0])
"""
DIAGNOSE = """
import isometry
run = isometry.load(FOLDER)
diagnosis = isometry.diagnose(run)
isometry.report(diagnosis, FOLDER + "/report.html")
print(diagnosis, file=sys.stderr)
"""
AROUND = """
import json, resource, sys, time
FOLDER = sys.argv[1]
began = time.perf_counter()
{work}
print(json.dumps({{"seconds": time.perf_counter() - began, "cpu": time.process_time(),
                   "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}}))
"""


def main() -> int:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where to generate the run, or where it is already")
    parser.add_argument("--keep", action="store_true", help="leave the run there for the next time")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="isometry-large-")) / "run"
    try:
        if not (folder / "run.json").exists():
            began = time.perf_counter()
            generate(folder, options.layers, options.steps)
            seconds, size = time.perf_counter() - began, (folder / "steps-0.bin").stat().st_size
            print(f"generated  {size / 1e9:.2f} GB in {seconds:.1f} s, {1e3 * seconds / options.steps:.2f} ms a step")
        measure("open, and read 25 columns", READ, folder)
        seconds, size = measure("diagnose and report", DIAGNOSE, folder)
        return int(seconds > SECONDS_ALLOWED or size > BYTES_ALLOWED)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def measure(name: str, work: str, folder: Path) -> tuple[float, float]:
    """Wall time and peak resident memory of some work in a process of its own."""
    command = [sys.executable, "-c", AROUND.format(work=work), str(folder)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    told = json.loads(output.splitlines()[-1])
    spent, memory = f"{told['seconds']:6.1f} s ({told['cpu']:.1f} s of CPU)", told["bytes"] / 1e9
    print(f"{name:26} {spent}   {memory:5.2f} GB resident at most")
    return told["seconds"], told["bytes"]


def generate(folder: Path, layers: int, steps: int) -> None:
    """Record a healthy network: level profiles, noise of a few per cent, a falling loss."""
    random = np.random.default_rng(0)
    chain = [
        Layer(
            name=f"blocks.{i}.linear",
            kind="linear",
            type="Linear",
            parameters=(f"blocks.{i}.linear.weight",),
            weight_shape=(64, 64),
            fan_in=64,
            fan_out=64,
            activation="relu" if i < layers - 1 else None,
            inputs=(f"blocks.{i - 1}.linear" if i else "",),
            output=i == layers - 1,
        )
        for i in range(layers)
    ]
    columns = [(signal, name) for signal in Signal for name in MOMENTS] + list(EXTRA)
    loss = 2.3 * np.exp(-np.arange(steps) / (steps / 3)) + 0.05 * random.random(steps) + 0.1
    with Recorder(folder, provenance={"name": "large", "seed": 0}) as recorder:
        recorder.begin(Architecture(tuple(chain), model="Large", framework="torch"), columns)
        recorder.event("optimizer", 0, name="SGD", lr=0.01, momentum=0.9, weight_decay=0.0, parameters=[])
        recorder.event("loss_kind", 0, kind="cross_entropy", classes=10, targets=None, outputs=None)
        constant = {column: np.full(layers, float(ELEMENTS)) for column in columns if column[1] == "count"}
        constant |= {column: np.zeros(layers) for column in columns if column[1] in ("zeros", "nan", "inf")}
        constant |= {(Signal.ACTIVATION, name): np.full(layers, n) for name, n in (("units", 64.0), ("seen", 1e4))}
        constant[Signal.ACTIVATION, "dead"] = np.zeros(layers)
        constant[Signal.UPDATE, "applied"] = np.ones(layers)
        for step in range(steps):
            rms = {signal: LEVELS.get(signal, 1.0) * np.exp(0.05 * random.standard_normal(layers)) for signal in Signal}
            row = dict(constant)
            for signal, values in rms.items():
                row |= {(signal, "rms"): values, (signal, "std"): 0.99 * values, (signal, "mean"): 0.1 * values}
                row[signal, "abs_max"] = 4 * values
            row[Signal.PRE_ACTIVATION, "spread"] = 0.9 * rms[Signal.PRE_ACTIVATION]
            recorder.record(step, row)
            recorder.scalar(step, "loss", loss[step])
            recorder.scalar(step, "lr", 0.01)
        recorder.event("end", steps, steps=steps, recorded=steps, cost=10.0, elapsed=1000.0, ending="finished")


if __name__ == "__main__":
    sys.exit(main())
