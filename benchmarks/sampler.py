"""Does the matrix-free sampler draw from the law of full networks? Every weight matrix against none.

For each configuration (activation and σ_w × width × depth) networks are simulated with all their matrices, and drawn by
``isometry.theory.sample_profile``. What is compared is log10 ‖δ‖ at the first layer over that at the last: the
difference of the means in standard errors, the difference itself, and the ratio of the standard deviations. Networks
that are dead are counted apart.

    python benchmarks/sampler.py [--only 64x50] [--law "relu, He"] [--nets-times 1]
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from isometry.theory import as_activation, chi_q, sample_profile

Floats = NDArray[np.float64]

LAWS = {
    "identity": ("identity", 1.0, 0.0),
    "relu, He": ("relu", math.sqrt(2), 0.0),
    "relu, PyTorch's default": ("relu", math.sqrt(1 / 3), math.sqrt(1 / 3) / 8),
    "leaky relu, He": ("leaky_relu", math.sqrt(2), 0.0),
    "tanh, σ_w 1": ("tanh", 1.0, 0.0),
    "tanh, critical at σ_b² 0.05": ("tanh", math.sqrt(1.760955), math.sqrt(0.05)),
    "tanh, chaotic": ("tanh", 2.0, 0.0),
    "sigmoid, Glorot": ("sigmoid", 1.0, 0.0),
    "sigmoid, σ_w 8": ("sigmoid", 8.0, 0.0),
    "selu": ("selu", 1.0, 0.0),
    "elu": ("elu", 1.245198, 0.0),
    "gelu, keeping q": ("gelu", 1.533530, 0.0),
    "silu, keeping q": ("silu", 1.676532, 0.0),
}
SIZES = {"5x10": (5, 10, 40000), "5x50": (5, 50, 40000), "64x10": (64, 10, 600), "64x50": (64, 50, 1000),
         "64x152": (64, 152, 2500), "512x10": (512, 10, 120), "512x50": (512, 50, 60)}  # fmt: skip
"""Width, layers, simulated networks."""
DRAWN_TIMES = 8
UNSTABLE = 1.05
"""χ_q above which the means of log10 ‖δ‖ hang on a few networks far out."""
CHUNK = 30_000_000
"""Weights that are held at once."""


def simulated(width: int, depth: int, law: tuple[str, float, float], nets: int, seed: int) -> Floats:
    """log10 ‖δ_1‖ / ‖δ_L‖ of networks with all their matrices, for inputs of mean square 1. shape (nets,)"""
    rng = np.random.default_rng(seed)
    at_once = max(1, CHUNK // (width * width * depth))
    parts = [_passed(width, depth, law, min(at_once, nets - done), rng) for done in range(0, nets, at_once)]
    return np.concatenate(parts)


def _passed(width: int, depth: int, law: tuple[str, float, float], nets: int, rng: np.random.Generator) -> Floats:
    name, sigma_w, sigma_b = law
    phi = as_activation(name)
    matrices, signals, a = [], [], np.ones((nets, width))
    for _ in range(depth):
        weights = rng.standard_normal((nets, width, width), dtype=np.float32)
        weights *= np.float32(sigma_w / math.sqrt(width))
        matrices.append(weights)
        signals.append(np.einsum("nij,nj->ni", weights, a) + sigma_b * rng.standard_normal((nets, width)))
        a = phi.function(signals[-1])
    delta, logs = rng.standard_normal((nets, width)), np.zeros(nets)
    delta /= np.linalg.norm(delta, axis=1, keepdims=True)
    for layer in range(depth - 2, -1, -1):
        delta = phi.slope(signals[layer]) * np.einsum("nij,ni->nj", matrices[layer + 1], delta)
        size = np.linalg.norm(delta, axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            logs += np.log10(size[:, 0])
        delta = np.divide(delta, size, out=np.zeros_like(delta), where=size > 0)
    return logs


def compared(
    times: int, only: str | None, only_law: str | None
) -> Iterator[tuple[str, str, float, float, float, float, float]]:
    """Size, law, z-score, bias in decades, ratio of deviations, dead simulated, dead drawn."""
    for size, (width, depth, nets) in SIZES.items():
        for seed, (words, law) in enumerate(LAWS.items()):
            if only not in (None, size) or only_law not in (None, words):
                continue
            full = simulated(width, depth, law, nets * times, seed)
            drawn = sample_profile([width] * depth, *law, nets=DRAWN_TIMES * nets * times, seed=1000 + seed)[:, 0]
            alive, kept = full[np.isfinite(full)], drawn[np.isfinite(drawn)]
            centre, spread = _centre_and_spread(law)
            bias, ratio = float(centre(kept) - centre(alive)), float(spread(kept) / spread(alive))
            loss = 1.0 if centre is np.mean else math.pi / 2  # a median needs so many more networks
            error = math.sqrt(loss * (spread(alive) ** 2 / len(alive) + spread(kept) ** 2 / len(kept)))
            dead = (1 - len(alive) / len(full), 1 - len(kept) / len(drawn))
            yield size, words, bias / error, bias, ratio, *dead


def _centre_and_spread(law: tuple[str, float, float]) -> tuple[Callable[[Floats], float], Callable[[Floats], float]]:
    """Mean and standard deviation; where sizes drift apart (χ_q > 1 at q = 1), median and half the 68 % range."""
    if chi_q(*law, q=1.0) > UNSTABLE and law[0] not in ("identity", "relu", "leaky_relu"):
        return np.median, lambda values: float(np.subtract(*np.quantile(values, [0.8413, 0.1587])) / 2)
    return np.mean, np.std


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SIZES)
    parser.add_argument("--law", choices=LAWS)
    parser.add_argument("--nets-times", type=int, default=1)
    options = parser.parse_args()
    print("| width × layers | law | z | bias, decades | sd drawn / sd simulated | dead, simulated | dead, drawn |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for row in compared(options.nets_times, options.only, options.law):
        rows.append(row)
        size, words, z, bias, ratio, dead, drawn_dead = row
        print(
            f"| {size} | {words} | {z:+.2f} | {bias:+.3f} | {ratio:.3f} | {dead:.3f} | {drawn_dead:.3f} |", flush=True
        )
    scores, biases = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
    started = time.process_time()
    sample_profile([64] * 152, "relu", math.sqrt(2), 0.0, nets=200, seed=0)
    print(f"\n{len(rows)} configurations: z-scores with rms {np.sqrt(np.mean(scores**2)):.2f}, ", end="")
    print(f"largest bias {np.abs(biases).max():.3f} decades, ", end="")
    print(f"200 networks of 152 × 64 in {time.process_time() - started:.2f} s of one core")


if __name__ == "__main__":
    main()
