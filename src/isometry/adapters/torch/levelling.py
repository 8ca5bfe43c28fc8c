"""Weights scaled while a batch goes through the model, until each layer's output has a standard deviation of 1.

A ``TorchFunctionMode`` meets the layers in the order in which they run, so that one forward pass is enough: when a
layer is reached, everything before it has its final size.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from isometry.adapters.torch.laws import flat_orthogonal
from isometry.adapters.torch.passes import Call, follow
from isometry.adapters.torch.recording import tensors_in
from isometry.adapters.torch.sites import MATRIX_OPERATIONS
from isometry.adapters.torch.weights import Matrix, fill, scaled
from isometry.errors import CannotEdit

__all__ = ["Sizing", "level_by_measuring", "rescaled", "size_on"]

ROUNDS = 10
TOLERANCE = 0.01
"""Of the standard deviation. Sources: Mishkin & Matas 2016, algorithm 1, and the authors' code."""


def level_by_measuring(model: nn.Module, call: Call, matrices: Iterable[Matrix], generator: torch.Generator) -> None:
    """LSUV: orthogonal matrices, rescaled layer by layer until the output has a standard deviation of 1 on the batch.

    One pass is enough, and a second one finds nothing to do, unless a weight is used a second time before its own turn:
    an embedding that the head shares. Of a layer that runs several times the first run counts. What lies inside
    attention keeps its orthogonal start, and recurrent layers their own.

    Raises:
        CannotEdit: a layer does not run on this batch, or no scale helps it.

    Sources: Mishkin & Matas 2016.
    """
    matrices = list(matrices)
    for matrix in matrices:
        fill(matrix, flat_orthogonal, 1.0, generator)
    for _ in range(ROUNDS):
        mode = _Levelling(matrices)
        size_on(model, call, mode, generator)
        if not mode.changed:
            return
    raise CannotEdit(
        f"`{mode.changed[0]}`: its output does not settle at a standard deviation of 1, for what arrives there depends "
        "on its own weight. Untie it, or name the other layers in `layers`."
    )


class Sizing(TorchFunctionMode):
    """Meets each matrix that a layer's output is linear in, once."""

    def __init__(self, matrices: Iterable[Matrix]) -> None:
        super().__init__()
        self.waiting = {id(matrix.parameter): matrix for matrix in matrices if matrix.role == "signal"}
        """Matrices that have not been met yet."""

    def reached_by(self, func: Callable[..., Any], values: Any) -> Matrix | None:
        """The matrix that an operation multiplies by, if it is met for the first time."""
        name = getattr(func, "__name__", "")
        if name not in MATRIX_OPERATIONS or MATRIX_OPERATIONS[name] == "embedding":
            return None
        return next((self.waiting.pop(id(one)) for one in tensors_in(values) if id(one) in self.waiting), None)


def size_on(model: nn.Module, call: Call, mode: Sizing, generator: torch.Generator) -> None:
    """Send the batch through the model, and make sure that every matrix has been met."""
    follow(model, call, mode, generator.initial_seed())
    if mode.waiting:
        names = ", ".join(f"`{matrix.layer}`" for matrix in list(mode.waiting.values())[:4])
        raise CannotEdit(
            f"{names}: did not run on this batch, or not with the weight itself, so the output cannot be measured. "
            "Give a batch that reaches every layer, or name the others in `layers`."
        )


def rescaled(matrix: Matrix, compute: Callable[[], Any]) -> Any:
    """The layer's output, after its matrix has been given the right size."""
    spread = math.nan
    numbers = torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    for _ in range(ROUNDS + 1):
        torch.set_rng_state(numbers)  # with other dropout each time it would never settle
        if devices:
            torch.cuda.set_rng_state_all(devices)
        result = compute()
        spread = float(tensors_in(result)[0].detach().double().std(correction=0))
        if abs(spread - 1) <= TOLERANCE:
            return result
        if not 0 < spread < math.inf:
            raise CannotEdit(
                f"`{matrix.layer}`: its output has a standard deviation of {spread:g} on this batch, which no scale "
                "turns into 1. Check what arrives there, or name the other layers in `layers`."
            )
        scaled(matrix, 1 / spread)
    raise CannotEdit(
        f"`{matrix.layer}`: after {ROUNDS} rounds the standard deviation of its output is {spread:.3g}, where 1 was "
        "sought. Its bias is frozen and spreads by itself; unfreeze it, or name the other layers in `layers`."
    )


class _Levelling(Sizing):
    """Rescales each matrix by what comes out of its layer."""

    def __init__(self, matrices: Iterable[Matrix]) -> None:
        super().__init__(matrices)
        self.changed: list[str] = []
        """Layers that were not of the right size."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        matrix = self.reached_by(func, [args, kwargs])
        if matrix is None:
            return func(*args, **kwargs)
        before = matrix.parameter._version
        result = rescaled(matrix, lambda: func(*args, **kwargs))
        if matrix.parameter._version != before:
            self.changed.append(matrix.layer)
        return result
