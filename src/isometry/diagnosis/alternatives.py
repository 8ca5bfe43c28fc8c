"""The changes to a network that are worth predicting before it trains."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, zip_longest

from isometry.diagnosis.block import block
from isometry.errors import IsometryError
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import AddSkip, InsertNorm, NetworkEdit, Reinitialise, ReplaceActivation, ScaleWeights
from isometry.theory import ACTIVATIONS, gain, level_branch_scale, steady_critical_point

__all__ = ["Alternative", "alternatives"]

MOST = 7
"""Every one of them costs as much as the prediction itself."""
STRAIGHT = frozenset({"relu", "leaky_relu"})
"""φ that He + ReLU would leave as they are."""

FEWEST_BRANCHES = 4
"""Fewer do not grow much: each multiplies the mean square by 2 at most."""

Alternative = tuple[str, tuple[NetworkEdit, ...]]


def alternatives(architecture: Architecture, sigma_b: float) -> tuple[Alternative, ...]:
    """Names of changes with the edits that make them, at most seven; none where no hidden layer has a φ with a name.

    Weights that are drawn anew get the critical gain of their layer's φ at this σ_b, or, where there is none that q
    stays with, the gain that keeps z. Norm layers are proposed where there are none, skips where there are no sums, and
    lighter branches where there are.

    Args:
        architecture: as traced.
        sigma_b: root mean square of the biases, which stay as they are.
    """
    named = [replace(layer, activation=block(architecture, layer).activation) for layer in architecture]
    layers = [layer for layer in named if _is_hidden(layer)]
    kinds = {layer.kind for layer in architecture}
    if not layers:
        return tuple(_lighter_branches(architecture))
    kindred = [
        list(() if all(layer.norm for layer in layers) else _other_weights(layers, sigma_b)),
        list(_other_activations(layers, sigma_b)),
        list(() if "norm" in kinds else _norms(layers)),
        list(_lighter_branches(architecture) if "sum" in kinds else _skips(layers)),
    ]
    # The best of each kind first: of a large network only the first few are tried.
    in_turn = (proposal for row in zip_longest(*kindred) for proposal in row if proposal is not None)
    return tuple(islice(in_turn, MOST))


def _is_hidden(layer: Layer) -> bool:
    is_plain = layer.kind in {"linear", "conv"} and not (layer.output or layer.gated or layer.recurrent)
    return is_plain and layer.activation in ACTIVATIONS and layer.calls > 0 and layer.trainable


def _by_activation(layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
    """Names of the layers of every φ, the commonest φ first."""
    counts = Counter(layer.activation for layer in layers if layer.activation)
    return {phi: tuple(layer.name for layer in layers if layer.activation == phi) for phi, _ in counts.most_common()}


def _other_weights(layers: Sequence[Layer], sigma_b: float) -> Iterator[Alternative]:
    groups = _by_activation(layers)
    gains = {phi: found for phi in groups if (found := _gain(phi, sigma_b))}
    if not gains:
        return
    which = "critical" if all(is_critical for _, is_critical in gains.values()) else "forward"
    words = f"{next(iter(gains)) if len(groups) == 1 else 'every φ'} at its {which} gain"
    for orthogonal in (False, True):
        edits = tuple(Reinitialise(groups[phi], size, orthogonal) for phi, (size, _) in gains.items())
        yield words + (", orthogonal weights" if orthogonal else ""), edits


def _gain(phi: str, sigma_b: float) -> tuple[float, bool] | None:
    """σ_w, and whether it is critical."""
    point = steady_critical_point(phi, sigma_b)
    if point:
        return point.sigma_w, True
    try:
        return gain(phi), False
    except IsometryError:
        return None


def _other_activations(layers: Sequence[Layer], sigma_b: float) -> Iterator[Alternative]:
    names, present = _names(layers), _by_activation(layers).keys()
    if all(layer.norm for layer in layers):  # the size of their weights does not matter
        yield from ((phi, (ReplaceActivation(names, phi),)) for phi in ("relu", "tanh") if present != {phi})
        return
    if not present <= STRAIGHT:
        yield "He + ReLU", (ReplaceActivation(names, "relu"), Reinitialise(names, gain("relu")))
    tanh = steady_critical_point("tanh", sigma_b)
    if present != {"tanh"} and tanh:
        yield "tanh at its critical point", (ReplaceActivation(names, "tanh"), Reinitialise(names, tanh.sigma_w))


def _skips(layers: Sequence[Layer]) -> Iterator[Alternative]:
    if any(layer.fan_in == layer.fan_out for layer in layers):
        yield "skip connections", (AddSkip(_names(layers)),)


def _lighter_branches(architecture: Architecture) -> Iterator[Alternative]:
    """Every residual branch times 1 / √L, by the weights at its end; nothing where a norm there undoes their size."""
    sums = [layer.name for layer in architecture if layer.kind == "sum" and layer.branch is None]
    ends = [layer for layer in architecture if layer.branch in sums and layer.name in architecture[layer.branch].inputs]
    free = [end for end in ends if end.kind in {"linear", "conv"} and end.norm is None and end.activation is None]
    if len(sums) >= FEWEST_BRANCHES and len(free) == len(ends) >= len(sums):
        yield "residual branches × 1/√L", (ScaleWeights(_names(free), level_branch_scale(len(sums))),)


def _norms(layers: Sequence[Layer]) -> Iterator[Alternative]:
    """Layer norm first in dense nets, batch norm first in convolutional ones."""
    names, groups = _names(layers), _by_activation(layers)
    phi = next(iter(groups)) if len(groups) == 1 else "φ"
    of_layer = [
        (f"layer norm before {phi}", (InsertNorm(names, "layer"),)),
        (f"layer norm after {phi}", (InsertNorm(names, "layer", after=True),)),
    ]
    of_batch = [(f"batch norm before {phi}", (InsertNorm(names, "batch"),))]
    is_convolutional = 2 * sum(layer.kind == "conv" for layer in layers) > len(layers)
    yield from of_batch + of_layer if is_convolutional else of_layer + of_batch


def _names(layers: Sequence[Layer]) -> tuple[str, ...]:
    return tuple(layer.name for layer in layers)
