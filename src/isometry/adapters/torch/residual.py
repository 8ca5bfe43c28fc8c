"""Errors written by hand: the mean of a square, or of an absolute value, of prediction minus target.

Autograd keeps their difference for the backward pass, and not the target. The prediction can be had again: a φ at the
end keeps its result, and a linear layer keeps what it multiplies, so that its product is made once more.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isometry.adapters.torch.singular import saved

__all__ = ["CASTS", "REDUCING", "RESHAPES", "Residual", "residual_of"]

ERRORS = {"PowBackward0": "mse", "AbsBackward0": "l1"}
RESULTS = frozenset(f"{name}Backward0" for name in ("Sigmoid", "Tanh", "Relu", "Exp", "Softmax"))
"""φ whose result is kept."""
RESHAPES = frozenset(
    f"{name}Backward{number}"
    for name in ("View", "UnsafeView", "ReshapeAlias", "Transpose", "T", "Permute", "Squeeze", "Unsqueeze", "Clone")
    for number in (0, 1)
)
ORDERED = frozenset(name for name in RESHAPES if not name.startswith(("Transpose", "TBack", "Permute")))
"""Those that leave the numbers in their order."""
CASTS = frozenset({"ToCopyBackward0"})
REDUCING = frozenset(f"{name}Backward{number}" for name in ("Mean", "Sum", "Div", "Mul", "Sqrt") for number in (0, 1))
"""What stands between a loss and its errors: means, sums, and constants in front of them."""


@dataclass(frozen=True, slots=True)
class Residual:
    """An error written by hand, as far as it is known."""

    kind: str
    given: Any
    """The operation that gave the prediction, however it was reshaped since."""
    prediction: Tensor
    target: Tensor


@torch.no_grad()
def residual_of(loss: Any) -> Residual | None:
    """The error that a loss is the mean or sum of; None where it is another loss, or its prediction is not known.

    The loss is told by the operation that gave it.

    The target must be a constant: a difference of two things that are learnt is no error.
    """
    error = _without(loss, REDUCING)
    kind = ERRORS.get(error.name()) if error is not None else None
    if kind is None or (kind == "mse" and error._saved_exponent != 2):
        return None
    difference, residual = _without(_only(error), CASTS | ORDERED), saved(error, "self")
    if difference is None or difference.name() != "SubBackward0" or residual is None or difference._saved_alpha != 1:
        return None
    sides = [following for following, _ in difference.next_functions]
    if len(sides) != 2 or sum(side is not None for side in sides) != 1:
        return None
    given = _without(sides[0] or sides[1], CASTS | ORDERED)
    prediction = _result(given)
    if prediction is None or prediction.numel() != residual.numel():
        return None
    prediction, residual = prediction.detach().reshape(residual.shape).to(residual.dtype), residual.detach()
    return Residual(kind, given, prediction, prediction - residual if sides[0] is not None else prediction + residual)


def _only(node: Any) -> Any:
    """The operation whose result a node takes, if there is one and no other."""
    following = [each for each, _ in node.next_functions if each is not None]
    return following[0] if len(following) == 1 else None


def _without(node: Any, names: frozenset[str]) -> Any:
    """The first operation that is none of these."""
    while node is not None and node.name() in names:
        node = _only(node)
    return node


def _result(node: Any) -> Tensor | None:
    if node is None:
        return None
    name = node.name()
    if name in RESULTS:
        return saved(node, "result")
    if name == "MmBackward0":
        return _product(node, "self", 0)
    if name != "AddmmBackward0" or (node._saved_alpha, node._saved_beta) != (1, 1):
        return None
    bias, product = getattr(node.next_functions[0][0], "variable", None), _product(node, "mat1", 1)
    return product + bias.to(product.dtype) if product is not None and bias is not None else None


def _product(node: Any, left: str, position: int) -> Tensor | None:
    """What a linear layer has given; its weight is kept only where its input has a gradient, which needs it."""
    given, weight = saved(node, left), saved(node, "mat2")
    if node.next_functions[position][0] is None:
        turned = node.next_functions[position + 1][0]
        of_layer = turned is not None and turned.name() == "TBackward0"
        weight = getattr(turned.next_functions[0][0], "variable", None) if of_layer else None
        weight = weight.t() if weight is not None else None
    if given is None or weight is None or given.layout is not torch.strided:
        return None
    return given @ weight.to(given.dtype)
