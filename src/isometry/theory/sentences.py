"""What an explanation says, in sentences."""

import math
from collections.abc import Iterator

import numpy as np

from isometry.theory.activations import ACTIVATIONS
from isometry.theory.criticality import Phase
from isometry.theory.explanation import Explanation
from isometry.theory.normalisation import layer_norm_rate

__all__ = ["sentences"]

SATURATED = 0.35
"""E φ′² over the steepest φ′², below which a critical point lies deep in saturation: 0.16 for sigmoid, 0.34 for hard
sigmoid, of whose units two in three are flat there; 0.57 for tanh with σ_b² = 0.05."""
SETTLED = 0.1
"""Share of the decades by which a stack may differ from one that has come to its fixed point."""
AUDIBLE = 0.05
"""Decades over the whole stack that are worth a word."""
VISIBLE = 0.005
"""σ_b that is not 0.00 in print."""
DRIFTING = 1.1
"""Growth of relative errors of q over the whole stack; 1 for ReLU, less for tanh, more for GELU at its forward gain."""


def sentences(found: Explanation) -> tuple[str, ...]:
    """At most four: the gradient's rate, the weights that would be right, the depth that trains, what is uncertain."""
    return tuple(_of_norm(found) if found.norm else _of_weights(found))


def _of_weights(found: Explanation) -> Iterator[str]:
    yield _rate(found)
    if found.phase != Phase.CRITICAL:
        yield _critical(found)
    if found.phase != Phase.CRITICAL and 0 < found.trainable_depth < math.inf:
        lasts = _digits(found.depth_scales.correlation)
        yield (
            f"The likeness of two inputs lasts ξ_c = {lasts} layers; networks train to about six times that depth, "
            f"{_layers(found.trainable_depth)}, and this one has {found.depth}."
        )
    if found.drift > DRIFTING:
        yield (
            f"Errors of q grow: 1 % becomes {_digits(found.drift)} % over {found.depth} layers. Sizes drift apart from "
            f"net to net; quote quantiles, not the mean."
        )


def _rate(found: Explanation) -> str:
    law = f"{found.activation} with σ_w = {_sigma(found.sigma_w)}"
    if found.sigma_b >= VISIBLE:
        law += f" and σ_b = {_sigma(found.sigma_b)}"
    if found.decades == -math.inf:
        return f"{law} passes no gradient."
    asymptotic = found.depth * found.decades_per_layer
    if found.drift > DRIFTING or abs(found.decades - asymptotic) > max(AUDIBLE, SETTLED * abs(found.decades)):
        way = "while q grows without end" if math.isnan(found.q) else f"the way of q to {_digits(found.q)} included"
        return f"{law}: δ {_changes(found.decades)} over {found.depth} layers, {way}."
    rate = f"{law} has χ₁ = {_digits(found.chi)}"
    if found.phase == Phase.CRITICAL:
        return f"{rate}: critical, δ keeps its size over {found.depth} layers."
    width = ", and width does not help" if found.decades_per_layer < 0 else ""
    return f"{rate}: δ {_changes(found.decades_per_layer)} a layer{width}."


def _critical(found: Explanation) -> str:
    if math.isnan(found.critical_sigma_w):
        return f"No σ_w keeps both z and δ of {found.activation} in size with this σ_b."
    weights = f"Its critical σ_w is {_sigma(found.critical_sigma_w)}"
    if not math.isfinite(found.critical_q):
        return f"{weights}."
    place = f"{weights}, where q* = {_digits(found.critical_q)}"
    steepest = np.max(ACTIVATIONS[found.activation].slope(np.linspace(-8, 8, 1601)) ** 2)
    if found.critical_sigma_w**-2 < SATURATED * steepest:
        return f"{place}: deep in saturation; another φ is the better change."
    return f"{place}."


def _of_norm(found: Explanation) -> Iterator[str]:
    stack = f"{found.norm} {found.activation}"
    weights = f"with σ_w = {_sigma(found.sigma_w)}" if found.norm.endswith("after") else "whatever the weights"
    if found.phase == Phase.CRITICAL:
        yield f"{stack} has χ₁ = {_digits(found.chi)}, {weights}: δ keeps its size over {found.depth} layers."
        return
    yield (
        f"{stack} has χ₁ = {_digits(found.chi)}, {weights}: δ {_changes(found.decades_per_layer)} a layer towards the "
        f"input, {_digits(abs(found.decades))} over {found.depth} layers."
    )
    with_skips = 0.5 * math.log10(found.depth + 1)
    if found.decades > with_skips:
        yield f"Skip connections would keep that to about ½ log10 (depth + 1) = {with_skips:.2f} decades in all."
    if found.norm == "layer norm before" and found.phase == Phase.ORDERED:
        behind = 0.5 * math.log10(layer_norm_rate(found.activation, before=False))
        yield f"Behind {found.activation} the same norm would leave {behind:+.2f} decades a layer."


def _changes(decades: float) -> str:
    return f"{'loses' if decades < 0 else 'gains'} {_digits(abs(decades))} decades"


def _digits(value: float) -> str:
    """``0``, ``0.059``, ``0.61``, ``1.07``, ``45.6``, ``1200``."""
    if value == 0 or 1000 <= value < 1e6:
        return f"{value:.0f}"
    if 0.1 <= value < 10:
        return f"{value:.2f}"
    return f"{value:.3g}" if 10 <= value < 1000 else f"{value:.2g}"


def _sigma(value: float) -> str:
    """``1.00``, ``10.15``, ``1e+06``."""
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"


def _layers(depth: float) -> str:
    count = max(round(depth), 1)
    return f"{count} layer{'s' if count > 1 else ''}"
