"""Signals and gradients of random networks of finite width, drawn without ever making a weight matrix.

For one input and independent Gaussian weights the joint law of all z and δ of a network needs no matrices. Forwards, h
= W a given a is Gaussian with variance σ_w² mean(a²). Backwards, W is known on a and free elsewhere, so that Wᵀδ = a
(h · δ) / ‖a‖² + σ_w ‖δ‖ / √n · P g, with g fresh and P the projection that removes a. This is the exact law; the usual
assumption that gradients meet fresh weights leaves out the first term, and is off by a decade in narrow nets.

For square orthogonal weights the same holds with directions that are uniform on spheres in the place of Gaussian ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_count, require_counts, require_variance
from isometry.theory.depth import PerLayer, per_layer

__all__ = ["SampledSignals", "Weights", "sample_profile", "sample_signals"]

Floats = NDArray[np.float64]
Weights = Literal["gaussian", "orthogonal"]

CHUNK = 1_000_000
"""Numbers of one kind that are held at once: nets × all units."""


@dataclass(frozen=True, slots=True)
class SampledSignals:
    """Log sizes of the signals of random networks, input first. shape (nets, layers)"""

    forward: Floats
    """log10 of rms z. [decades]"""
    backward: Floats
    """log10 of ‖δ‖ against the last layer, where it is 0; −inf where no gradient arrives. [decades]"""

    @property
    def dead(self) -> float:
        """Share of the nets whose first layer gets no gradient at all."""
        return float(np.mean(np.isneginf(self.backward[:, 0])))


@dataclass(frozen=True, slots=True)
class _Net:
    widths: tuple[int, ...]
    phi: Activation
    sigma_w: Floats
    sigma_b: Floats
    input_square_mean: float
    weights: Weights


def sample_profile(
    widths: Sequence[int],
    activation: ActivationLike,
    sigma_w: PerLayer,
    sigma_b: PerLayer,
    *,
    nets: int,
    seed: int,
    input_square_mean: float = 1.0,
    weights: Weights = "gaussian",
) -> Floats:
    """How large δ = ∂L/∂z is at every layer of random networks, in decades against the last layer.

    Args:
        widths: number of units of every layer z_1 … z_L, the last one included; φ stands between the layers, and a δ of
            random direction starts at the last.
        activation: φ, a name or a function of NumPy arrays.
        sigma_w: weights have the standard deviation σ_w / √fan_in; one for all or one for each layer.
        sigma_b: standard deviation of the biases, likewise.
        nets: how many networks to draw.
        seed: same seed, same networks.
        input_square_mean: mean of x² over the network's inputs.
        weights: "gaussian", or "orthogonal" for square orthogonal matrices times σ_w. Uniform weights behave like
            Gaussian ones from a width of about 64 on; with 5 units and ReLU their loss is a fifth smaller.

    Returns:
        log10 ‖δ_l‖ − log10 ‖δ_L‖, input first, so 0 in the last column; −inf where a net is dead. shape (nets, layers)

    Raises:
        IsometryError: a width or a number of nets below 1, a negative σ, or orthogonal weights between unequal widths.
    """
    return sample_signals(
        widths,
        activation,
        sigma_w,
        sigma_b,
        nets=nets,
        seed=seed,
        input_square_mean=input_square_mean,
        weights=weights,
    ).backward


def sample_signals(
    widths: Sequence[int],
    activation: ActivationLike,
    sigma_w: PerLayer,
    sigma_b: PerLayer,
    *,
    nets: int,
    seed: int,
    input_square_mean: float = 1.0,
    weights: Weights = "gaussian",
) -> SampledSignals:
    """The same as ``sample_profile``, with the forward signal of the same networks."""
    sizes = require_counts("widths", widths)
    if weights == "orthogonal" and len(set(sizes)) > 1:
        raise IsometryError(
            f"widths from {min(sizes)} to {max(sizes)}: orthogonal weights can be sampled between equal widths only."
        )
    net = _Net(
        sizes,
        as_activation(activation),
        per_layer("sigma_w", sigma_w, len(sizes)),
        per_layer("sigma_b", sigma_b, len(sizes)),
        require_variance("input_square_mean", input_square_mean),
        weights,
    )
    drawn = [_draw(net, count, rng) for count, rng in _chunks(sum(sizes), require_count("nets", nets), seed)]
    return SampledSignals(*(np.concatenate(parts) for parts in zip(*drawn, strict=True)))


def _chunks(units: int, nets: int, seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    rng = np.random.default_rng(seed)
    size = max(1, CHUNK // units)
    for first in range(0, nets, size):
        yield min(size, nets - first), rng


def _draw(net: _Net, nets: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Log sizes of z and of δ of so many nets. shape (nets, layers) each"""
    passed = _forward(net, nets, rng)
    forward = np.stack([_log(_unit(z)[1]) - 0.5 * np.log10(z.shape[1]) for _, z in passed], axis=1)
    return forward, _backward(net, passed, rng)


def _forward(net: _Net, nets: int, rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    """(h, z) of every layer, where z = h + b. shape (nets, width) each"""
    passed = []
    rms = np.full((nets, 1), np.sqrt(net.input_square_mean))
    for width, sigma_w, sigma_b in zip(net.widths, net.sigma_w, net.sigma_b, strict=True):
        h = rng.standard_normal((nets, width))
        if net.weights == "orthogonal":
            h *= np.sqrt(width) / np.linalg.norm(h, axis=1, keepdims=True)
        h *= sigma_w * rms
        z = h + sigma_b * rng.standard_normal((nets, width)) if sigma_b > 0 else h
        passed.append((h, z))
        rms = _unit(net.phi.function(z))[1] / np.sqrt(width)
    return passed


def _backward(net: _Net, passed: list[tuple[Floats, Floats]], rng: np.random.Generator) -> Floats:
    """log10 ‖δ‖ of every layer against the last; δ is brought back to length 1 at every layer. shape (nets, layers)"""
    direction = _unit(rng.standard_normal(passed[-1][1].shape))[0]
    steps = [np.zeros(len(direction))]
    for layer in range(len(passed) - 2, -1, -1):
        z, h = passed[layer][1], passed[layer + 1][0]
        back = _transposed(net, net.phi.function(z), h, direction, float(net.sigma_w[layer + 1]), rng)
        direction, size = _unit(net.phi.slope(z) * back)
        steps.append(_log(size))
    return np.cumsum(steps, axis=0)[::-1].T


def _transposed(net: _Net, a: Floats, h: Floats, delta: Floats, sigma_w: float, rng: np.random.Generator) -> Floats:
    """Wᵀδ given W a = h, for δ of length 1. shape (nets, fan_in)"""
    along, size = _unit(a)
    known = _dot(np.divide(h, size, out=np.zeros_like(h), where=size > 0), delta)
    fresh = rng.standard_normal(a.shape)
    if net.weights == "gaussian":
        fresh *= sigma_w / np.sqrt(a.shape[1])
        return fresh + along * (known - _dot(along, fresh))
    fresh -= along * _dot(along, fresh)
    rest = np.maximum(sigma_w**2 - known**2, 0.0)  # of ‖Wᵀδ‖²; the direction of a took its share
    return _unit(fresh)[0] * np.sqrt(rest) + along * known


def _dot(left: Floats, right: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", left, right)[:, None])


def _unit(vectors: Floats) -> tuple[Floats, Floats]:
    """Each vector divided by its length, and the lengths; zeros stay zeros. Squares of small numbers are not taken."""
    greatest = np.max(np.abs(vectors), axis=1, keepdims=True)
    scaled = np.divide(vectors, greatest, out=np.zeros_like(vectors), where=greatest > 0)
    length = np.sqrt(_dot(scaled, scaled))
    return np.divide(scaled, length, out=scaled, where=length > 0), length * greatest


def _log(sizes: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log10(sizes[:, 0]))
