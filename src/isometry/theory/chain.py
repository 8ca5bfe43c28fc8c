"""Mean field along a chain of layers that need not be alike: each with its own φ, weights, norm and skip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_deviation, require_variance

__all__ = ["ChainLayer", "ChainProfile", "chain_profile", "fit_chain"]

Floats = NDArray[np.float64]

NORMS = ("", "layer", "batch")


@dataclass(frozen=True, slots=True)
class ChainLayer:
    """A dense or convolutional layer, the norm beside it, its φ and the skip round both."""

    activation: ActivationLike
    sigma_w: float
    """Weights have the standard deviation σ_w / √fan_in."""
    norm: str = ""
    """``layer``: over the units of a sample; ``batch``: over the samples of a unit; empty for none."""
    after: bool = False
    """Whether the norm stands behind φ instead of before it."""
    skip: bool = False
    """h = φ(z) + x instead of φ(z), where x is what the layer reads."""
    scale: float = 1.0
    """Root mean square that the norm gives its output."""
    forward: float = 1.0
    """Factor on the mean square of z for what is not in the law of the weights."""
    backward: float = 1.0
    """The same on the mean of ‖δ‖², from the layer above to this one."""


@dataclass(frozen=True, slots=True)
class ChainProfile:
    """What mean field says of every layer, input first. shape (layers,)"""

    q: Floats
    """Mean square of z, before a norm."""
    forward: Floats
    """log10 of rms z. [decades]"""
    backward: Floats
    """½ log10 of the mean of ‖δ‖² against the last layer, where it is 0. δ is read behind a norm that comes before φ,
    where the size of the weights has no part in it. [decades]"""


@dataclass(frozen=True, slots=True)
class _Passed:
    """What a layer passes on, as mean squares."""

    output: float
    """Of h."""
    common: float
    """Of the part of h that all samples share."""
    slope: float
    """E φ′²."""
    normed: float
    """Factor of the norm behind φ on its way back."""


def chain_profile(layers: Sequence[ChainLayer], *, first: float) -> ChainProfile:
    """The length map and the factors of ‖δ‖², layer by layer, for layers that differ.

    Layers are wide, weights independent with mean 0. Batches are large, and samples have come to share as much as they
    will: behind φ that is (E φ)²; in the first layers it is less, and batch norm takes less from the gradient there.

    Args:
        layers: input first.
        first: mean square of z of the first layer.

    Raises:
        IsometryError: a number is none of its kind; or φ is constant over what reaches it, with a norm to follow.

    Sources: Poole et al. 2016; Schoenholz et al. 2017; Yang et al. 2019 for batch norm.
    """
    q, passed = [require_variance("first", first)], [_through(_required(layers)[0], first, None)]
    for layer in layers[1:]:
        q.append(layer.forward * _unfitted(layer, passed[-1]))
        passed.append(_through(layer, q[-1], passed[-1]))
    size = np.array(q)
    with np.errstate(divide="ignore"):
        return ChainProfile(size, 0.5 * np.log10(size), 0.5 * np.log10(_gradients(layers, q, passed)))


def fit_chain(layers: Sequence[ChainLayer], q: Sequence[float], backward: Sequence[float]) -> tuple[ChainLayer, ...]:
    """The same layers with the factors ``forward`` and ``backward`` that make mean field give what was measured.

    They hold what the law of the weights does not say: structure, few units, pooling. How far from 1 they are tells how
    much of a measurement theory explains.

    Args:
        layers: input first; their own factors do not count.
        q: mean square of z of every layer.
        backward: log10 ‖δ‖ of every layer. [decades]

    Raises:
        IsometryError: a signal is zero or not finite, or not what such layers could have.
    """
    if not len(_required(layers)) == len(q) == len(backward):
        raise IsometryError(f"{len(layers)} layers, {len(q)} q and {len(backward)} sizes of δ: one for each is needed.")
    if not (np.isfinite(backward).all() and np.isfinite(q).all() and np.min(q) > 0):
        raise IsometryError("A signal of the chain is zero or not finite: there is nothing to fit.")
    fitted, passed = [replace(layers[0], forward=1.0)], [_through(layers[0], q[0], None)]
    for layer, size in zip(layers[1:], q[1:], strict=True):
        plain = _unfitted(layer, passed[-1])
        if not plain > 0:
            raise IsometryError("A layer of the chain passes nothing on: there is nothing to fit.")
        fitted.append(replace(layer, forward=size / plain))
        passed.append(_through(layer, size, passed[-1]))
    return _fit_gradients(fitted, q, passed, np.asarray(backward, dtype=np.float64))


def _required(layers: Sequence[ChainLayer]) -> Sequence[ChainLayer]:
    if not layers:
        raise IsometryError("layers = []: a chain has at least one layer.")
    for layer in layers:
        if layer.norm not in NORMS:
            raise IsometryError(f"norm = {layer.norm!r}: there are layer and batch, or an empty word for none.")
    return layers


def _unfitted(layer: ChainLayer, below: _Passed) -> float:
    """Mean square of z by the law of the weights; for a batch norm of what differs from sample to sample."""
    read = below.output - below.common if layer.norm == "batch" and not layer.after else below.output
    return require_deviation("sigma_w", layer.sigma_w) ** 2 * read


def _through(layer: ChainLayer, q: float, below: _Passed | None) -> _Passed:
    """From z to what the layer passes on."""
    phi = as_activation(layer.activation)
    at = layer.scale**2 if layer.norm and not layer.after else q
    output, mean, slope = _moments(phi, float(f"{at:.12g}"))
    common, normed = mean**2, 1.0
    if layer.norm and layer.after:
        apart = output - common
        if not apart > 0:
            raise IsometryError(f"{phi.name} is constant over N(0, {at:g}): nothing is left after a norm layer.")
        normed = layer.scale**2 / apart
        output, common = layer.scale**2, 0.0
    if layer.skip and below is not None:
        output, common = output + below.output, common + below.common
    return _Passed(output, common, slope, normed)


@lru_cache(maxsize=8192)
def _moments(phi: Activation, q: float) -> tuple[float, float, float]:
    """E φ², E φ and E φ′²; most layers of a chain ask for the same."""
    return moments.second_moment(phi, q), moments.mean(phi, q), moments.slope_moment(phi, q)


def _gradients(layers: Sequence[ChainLayer], q: Sequence[float], passed: Sequence[_Passed]) -> Floats:
    """Mean of ‖δ‖² at every layer, against the last."""
    delta, at_output = np.ones(len(layers)), _at_last_output(passed)
    for place in range(len(layers) - 2, -1, -1):
        at_output = _back(layers[place + 1], q[place + 1], delta[place + 1], at_output)
        delta[place] = at_output * passed[place].normed * passed[place].slope * layers[place].backward
    return delta


def _fit_gradients(
    layers: Sequence[ChainLayer], q: Sequence[float], passed: Sequence[_Passed], backward: Floats
) -> tuple[ChainLayer, ...]:
    delta = 10.0 ** (2 * (backward - backward[-1]))
    found, at_output = [layers[-1]], _at_last_output(passed)
    for place in range(len(layers) - 2, -1, -1):
        at_output = _back(layers[place + 1], q[place + 1], delta[place + 1], at_output)
        plain = at_output * passed[place].normed * passed[place].slope
        if not 0 < plain < np.inf:
            raise IsometryError("A layer of the chain passes no gradient on: there is nothing to fit.")
        found.append(replace(layers[place], backward=float(delta[place] / plain)))
    return tuple(reversed(found))


def _at_last_output(passed: Sequence[_Passed]) -> float:
    """Mean square of the gradient at the output of the last layer, of which δ is 1."""
    last = passed[-1].slope * passed[-1].normed
    return 1 / last if last > 0 else 0.0


def _back(above: ChainLayer, q: float, delta: float, at_output: float) -> float:
    """From δ of a layer, and the gradient at its output for its skip, to the gradient at its input."""
    through = above.sigma_w**2 * delta
    if above.norm and not above.after:
        through *= above.scale**2 / q if q > 0 else np.inf
    return float(through + (at_output if above.skip else 0.0))
