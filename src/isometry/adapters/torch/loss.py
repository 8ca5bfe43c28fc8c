"""What can be read off the graph behind a loss: its kind, its targets, and where it stopped being finite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from isometry.adapters.torch import measure
from isometry.network.signals import MOMENTS

__all__ = ["Suspect", "describe_loss", "where_not_finite"]

KINDS = {
    "NllLossBackward0": "cross_entropy",
    "NllLoss2DBackward0": "cross_entropy",
    "MseLossBackward0": "mse",
    "BinaryCrossEntropyBackward0": "binary_cross_entropy",
    "BinaryCrossEntropyWithLogitsBackward0": "binary_cross_entropy",
    "SmoothL1LossBackward0": "smooth_l1",
    "HuberLossBackward0": "smooth_l1",
    "KlDivBackward0": "kl_divergence",
}
FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "NllLossBackward0": F.nll_loss,
    "NllLoss2DBackward0": F.nll_loss,
    "MseLossBackward0": F.mse_loss,
    "BinaryCrossEntropyBackward0": F.binary_cross_entropy,
    "BinaryCrossEntropyWithLogitsBackward0": F.binary_cross_entropy_with_logits,
    "SmoothL1LossBackward0": F.smooth_l1_loss,
}
LOOK_AT_MOST = 64
"""Nodes behind the loss in which its kind is looked for."""
WALK_AT_MOST = 100_000


def describe_loss(loss: Tensor) -> dict[str, Any]:
    """Kind of a loss, number of classes, and the moments of its targets and outputs where autograd has kept them.

    ``l1`` and squares written by hand are told by their pattern of operations.
    """
    queue, seen = [loss.grad_fn], 0
    names: list[str] = []
    while queue and seen < LOOK_AT_MOST:
        node = queue.pop(0)
        if node is None:
            continue
        seen += 1
        name = node.name()
        names.append(name)
        if name in KINDS:
            return _described(KINDS[name], name, node)
        queue.extend(following for following, _ in node.next_functions)
    return {"kind": _pattern(names), "classes": None, "targets": None, "outputs": None, "value": None}


def _described(kind: str, name: str, node: Any) -> dict[str, Any]:
    outputs, targets = _saved(node, "_saved_self"), _saved(node, "_saved_target")
    classes, value = None, _own_value(name, outputs, targets)
    if name.startswith("NllLoss") and outputs is not None and outputs.dim() >= 1:
        classes = int(outputs.shape[1] if outputs.dim() > 1 else outputs.shape[0])
        targets = outputs = None  # class numbers and log-probabilities have no scale
    return {
        "kind": kind,
        "classes": classes,
        "targets": _moments(targets),
        "outputs": _moments(outputs),
        "value": value,
    }


def _own_value(name: str, outputs: Tensor | None, targets: Tensor | None) -> float | None:
    """Mean of the loss function over the batch, whatever factor the user put in front and however it was reduced."""
    function = FUNCTIONS.get(name)
    if function is None or outputs is None or targets is None:
        return None
    with torch.no_grad():
        return float(function(outputs.detach().float(), targets.detach()))


def _pattern(names: list[str]) -> str:
    """A loss written by hand: mean or sum, of a square or an absolute value, of a difference."""
    for position, name in enumerate(names[:-1]):
        below = names[position + 1 : position + 3]
        if name == "PowBackward0" and "SubBackward0" in below:
            return "mse"
        if name == "AbsBackward0" and "SubBackward0" in below:
            return "l1"
    return "unknown"


def _moments(tensor: Tensor | None) -> dict[str, float] | None:
    if tensor is None or not measure.measurable(tensor):
        return None
    row = measure.row(tensor)
    return dict(zip(MOMENTS, row.tolist() if isinstance(row, Tensor) else row, strict=True))


@dataclass(frozen=True, slots=True)
class Suspect:
    """Where a forward pass stopped being finite, as far as autograd's saved tensors tell."""

    layer: str
    """The last layer on the way to the fault; empty before the first."""
    operation: str
    """Name of the operation whose input or result is the first that is not finite."""
    weight: bool
    """The layer's own weight is not finite."""


def where_not_finite(loss: Tensor, names: dict[int, str]) -> Suspect | None:
    """Walk the graph behind a non-finite loss, earliest operation first, to the first value that is not finite.

    It costs nothing until it is needed, for it reads what autograd keeps for the backward pass anyway. So it must run
    before that pass frees it.

    Args:
        loss: the loss, its graph still whole.
        names: layer of each parameter, by ``id``.

    Returns:
        None where no saved tensor shows the fault (an operation that saves nothing made it).
    """
    nodes = _graph(loss)
    layer = ""
    for node in sorted(nodes, key=_age):
        owner = _layer_of(node, names)
        if owner:
            layer = owner
        for name in dir(node):
            if not name.startswith("_saved_"):
                continue
            value = _saved(node, name)
            if value is not None and measure.measurable(value) and not bool(torch.isfinite(value).all()):
                weight = any(value is variable for variable in _variables(node)) or id(value) in names
                return Suspect(layer, node.name(), weight)
    return None


def _graph(loss: Tensor) -> list[Any]:
    stack: list[Any] = [loss.grad_fn]
    seen: dict[int, Any] = {}
    while stack and len(seen) < WALK_AT_MOST:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen[id(node)] = node
        stack.extend(following for following, _ in node.next_functions)
    return list(seen.values())


def _age(node: Any) -> int:
    """Creation order; gradient accumulators have no place in it."""
    number = getattr(node, "_sequence_nr", None)
    return int(number()) if number is not None else 0


def _variables(node: Any) -> list[Tensor]:
    found = []
    for following, _ in node.next_functions:
        if following is None:
            continue
        if hasattr(following, "variable"):
            found.append(following.variable)
        elif following.name() in ("TBackward0", "TransposeBackward0"):
            found.extend(_variables(following))
    return found


def _layer_of(node: Any, names: dict[int, str]) -> str:
    for variable in _variables(node):
        if id(variable) in names:
            return names[id(variable)]
    return ""


def _saved(node: Any, name: str) -> Tensor | None:
    try:
        value = getattr(node, name, None)
    except RuntimeError:  # freed, or overwritten in place since
        return None
    return value if isinstance(value, Tensor) else None
