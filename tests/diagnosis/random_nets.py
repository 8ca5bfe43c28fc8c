"""Random dense networks, forwards and backwards in NumPy, as runs: realistic profiles without a framework."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.architecture import Layer
from tests.runs import make_run

Array = NDArray[np.float64]


def logistic(z: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


VALUES = {
    "sigmoid": logistic,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "none": lambda z: z,
}
SLOPES = {
    "sigmoid": lambda z: logistic(z) * (1 - logistic(z)),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0).astype(float),
    "none": np.ones_like,
}


def random_net(
    activation: str = "relu",
    *,
    depth: int = 10,
    width: int = 64,
    sigma: float | list[float] = 1.0,
    mean: float = 0.0,
    loss_factor: float = 1.0,
    dtype: type[np.floating[Any]] = np.float64,
    recorded: int = 6,
    drift: float = 0.0,
    prefix: str = "fc",
    seed: int = 0,
    **run_fields: Any,
) -> Run:
    """A run of a random classifier: ``depth`` hidden layers and a head of ten classes.

    Args:
        sigma: σ_w of the hidden layers, one number or one for each layer; the head has 1.
        mean: times fan-in, of the weights of the hidden layers.
        loss_factor: what the loss was multiplied by.
        dtype: of the backward signal: float32 flushes to zero as a float32 network does.
        drift: how much of the way from its own profile to that of weights with σ_w kept the net has gone at the end.
    """
    generator = np.random.default_rng(seed)
    sigmas = [sigma] * depth if isinstance(sigma, float | int) else sigma
    widths = [width] * (depth + 1) + [10]
    columns: dict[str, Array] = {}
    draws = [generator.normal(0, 1, (widths[i + 1], widths[i])) / np.sqrt(widths[i]) for i in range(depth + 1)]
    kept = {"relu": 2**0.5, "sigmoid": 1.0}.get(activation, 1.0)
    for row in range(recorded):
        way = drift * row / max(recorded - 1, 1)
        scales = [s ** (1 - way) * kept**way for s in sigmas] + [1.0]
        weights = [scale * draw for scale, draw in zip(scales, draws, strict=True)]
        weights = [weight + mean / weight.shape[1] for weight in weights[:-1]] + weights[-1:]
        _one_step(columns, row, recorded, weights, activation, generator, loss_factor, dtype)
    return make_run(layers=_layers(widths, activation, prefix), **columns, **run_fields)


def _one_step(
    columns: dict[str, Array],
    row: int,
    recorded: int,
    weights: list[Array],
    activation: str,
    generator: np.random.Generator,
    loss_factor: float,
    dtype: type[np.floating[Any]],
) -> None:
    def put(name: str, layer: int, value: float) -> None:
        columns.setdefault(name, np.full((recorded, len(weights)), np.nan))[row, layer] = value

    def measure(signal: str, layer: int, values: Array) -> None:
        wide = values.astype(np.float64)
        put(f"{signal}_rms", layer, float(np.sqrt(np.mean(wide**2))))
        put(f"{signal}_count", layer, wide.size)
        put(f"{signal}_mean", layer, float(wide.mean()))
        put(f"{signal}_std", layer, float(wide.std()))
        put(f"{signal}_abs_max", layer, float(np.abs(wide).max()))

    batch, last = 64, len(weights) - 1
    h = generator.normal(size=(batch, weights[0].shape[1]))
    zs = []
    for layer, weight in enumerate(weights):
        z = h @ weight.T
        zs.append(z)
        h = VALUES[activation](z) if layer < last else z
        measure("pre_activation", layer, z)
        put("pre_activation_spread", layer, float(np.sqrt(np.mean(z.std(axis=0) ** 2))))
        measure("activation", layer, h)
        measure("weight", layer, weight)
    softmax = np.exp(h - h.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    target = np.eye(h.shape[1])[generator.integers(0, h.shape[1], batch)]
    delta = ((softmax - target) / batch * loss_factor).astype(dtype)
    for layer in range(last, -1, -1):
        if layer < last:
            measure("activation_gradient", layer, delta)
            slope = SLOPES[activation](zs[layer])
            if activation != "none":
                measure("slope", layer, slope)
            delta = (delta * slope).astype(dtype)
        measure("delta", layer, delta)
        if layer:
            delta = (delta @ weights[layer].astype(dtype)).astype(dtype)
            measure("input_gradient", layer, delta)


def _layers(widths: list[int], activation: str, prefix: str) -> list[Layer]:
    last = len(widths) - 2
    return [
        Layer(
            name=f"{prefix}{i + 1}",
            kind="linear",
            type="Linear",
            parameters=(f"{prefix}{i + 1}.weight",),
            weight_shape=(widths[i + 1], widths[i]),
            fan_in=widths[i],
            fan_out=widths[i + 1],
            activation=activation if i < last and activation != "none" else None,
            inputs=(f"{prefix}{i}" if i else "",),
            output=i == last,
        )
        for i in range(last + 1)
    ]
