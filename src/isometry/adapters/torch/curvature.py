"""Sharpness of a loss: the largest eigenvalue of its Hessian, by products H v that autograd makes."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from isometry.errors import UnsupportedModel

__all__ = ["Sharpness", "sharpness_of"]

ROUNDS = 20
"""Products H v at most."""
TOLERANCE = 0.02
"""Relative error at which no further product is made."""


@dataclass(frozen=True, slots=True)
class Sharpness:
    """The largest eigenvalue λ of a Hessian, as far as it is known."""

    value: float
    """Not above λ, but for rounding. Negative where the loss curves downwards in every direction that was met."""
    error: float
    """Some eigenvalue lies within so much of ``value``."""
    rounds: int
    """Products H v that were made."""


def sharpness_of(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    *,
    rounds: int = ROUNDS,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Sharpness:
    """λ of ∂²L/∂W².

    Lanczos' method without keeping the directions: power iteration that takes the best combination of all powers, and
    needs three vectors. Directions come back by rounding, which repeats eigenvalues and shifts none. Kinks have no
    curvature for autograd: of a ReLU network it is that of the pieces.

    Gradient descent on a quadratic loss diverges beyond a rate of 2/λ, with momentum β beyond 2 (1 + β)/λ.

    Args:
        loss: computes the loss anew; it is called once.
        parameters: that it is derived by.
        rounds: products H v at most.
        tolerance: relative error that is good enough.
        seed: of the first direction.

    Raises:
        UnsupportedModel: autograd cannot derive the loss twice, or what comes back is no number.

    Sources: Golub & Van Loan 2013, section 10.1; Pearlmutter 1994; Cohen et al. 2021.
    """
    asked = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        with ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # the fused kernels have no second derivative
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # nor have those of recurrent layers
            stack.enter_context(torch.enable_grad())
            found = loss()
            if not found.requires_grad:
                raise UnsupportedModel("The loss depends on no trainable parameter. Let it be computed with gradients.")
            # Operations that can be derived once say so only where what comes back to them asks for gradients.
            slopes = torch.autograd.grad(
                found * torch.ones_like(found, requires_grad=True), asked, create_graph=True, materialize_grads=True
            )
            _require_second_derivatives(slopes)
            return _lanczos(_Product(asked, slopes), _direction(asked, seed), rounds, tolerance)
    except RuntimeError as fault:
        raise UnsupportedModel(
            f"The curvature of this loss is not known, because autograd cannot derive it twice: "
            f"{str(fault).splitlines()[0]} Operations with a backward pass of their own need one that can be derived."
        ) from fault


def _require_second_derivatives(slopes: Sequence[Tensor]) -> None:
    """Refuse operations that promise one derivative only: asked for a second, autograd passes them by in silence."""
    waiting: list[Any] = [slope.grad_fn for slope in slopes if slope.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node.name().endswith("Error"):
            raise UnsupportedModel(
                "The curvature of this loss is not known, because an operation in it is marked with "
                "@once_differentiable. Let its backward pass be one that autograd can derive."
            )
        found = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= found
        waiting += found


Vector = list[Tensor]
"""One tensor for each parameter."""


class _Product:
    """v → H v."""

    def __init__(self, parameters: Sequence[Tensor], slopes: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._slopes = [slope for slope in slopes if slope.requires_grad]
        self._curved = [slope.requires_grad for slope in slopes]

    def __call__(self, vector: Vector) -> Vector:
        if not self._slopes:  # a loss that is linear in all parameters
            return [torch.zeros_like(part) for part in vector]
        weights = [part for part, curved in zip(vector, self._curved, strict=True) if curved]
        # A sum of products, not gradients given to autograd: for those torch imports symbolic shapes, for a second.
        total = torch.stack([(slope * part).sum() for slope, part in zip(self._slopes, weights, strict=True)]).sum()
        found = torch.autograd.grad(total, self._parameters, retain_graph=True, materialize_grads=True)
        return list(found)


def _lanczos(product: Callable[[Vector], Vector], direction: Vector, rounds: int, tolerance: float) -> Sharpness:
    diagonal: list[float] = []
    beside: list[float] = []
    before, length = [torch.zeros_like(part) for part in direction], 0.0
    found = Sharpness(math.nan, math.inf, 0)
    for number in range(1, rounds + 1):
        image = product(direction)
        diagonal.append(_inner(direction, image))
        rest = [
            part - diagonal[-1] * along - length * back
            for part, along, back in zip(image, direction, before, strict=True)
        ]
        length = math.sqrt(_inner(rest, rest))
        if not math.isfinite(diagonal[-1] + length):
            raise UnsupportedModel(
                "The curvature of this loss is no finite number. Check a batch whose loss and gradient are finite."
            )
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        found = Sharpness(float(values[-1]), length * abs(float(vectors[-1, -1])), number)
        if found.error <= tolerance * abs(found.value) or length == 0:
            break
        beside.append(length)
        before, direction = direction, [part / length for part in rest]
    return found


def _direction(parameters: Sequence[Tensor], seed: int) -> Vector:
    """Random, of length 1."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(parameter.shape, generator=generator).to(parameter) for parameter in parameters]
    length = math.sqrt(_inner(drawn, drawn))
    return [part / length for part in drawn]


def _inner(left: Vector, right: Vector) -> float:
    return math.fsum(float((a.double() * b.double()).sum()) for a, b in zip(left, right, strict=True))
