"""Dynamic loss scaling for trainings that call ``backward`` and ``step`` themselves.

``torch.amp.GradScaler`` does the same where the training loop calls it. Here nobody can write into the loop: the
gradient of the loss is multiplied when the backward pass begins, and divided when it arrives at a weight, so that
whatever looks at gradients in between, clipping for one, finds them as they are.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

from isometry.errors import CannotEdit

__all__ = ["LossScale", "gradient_scale", "loss_scale_of"]

GROWTH, BACKOFF, INTERVAL = 2.0, 0.5, 2000
"""As ``torch.amp.GradScaler`` has them: doubled after so many good steps in a row, halved after a bad one."""

_scales: "WeakKeyDictionary[Optimizer, LossScale]" = WeakKeyDictionary()


def loss_scale_of(optimizer: Optimizer) -> "LossScale | None":
    """The scale of the losses that an optimiser steps on; None where they are not scaled by us."""
    return _scales.get(optimizer)


def gradient_scale(parameters: Iterable[int]) -> float:
    """What gradients are multiplied by inside the network that holds these parameters, given by ``id``."""
    own = set(parameters)
    return next((scale.value for scale in _scales.values() if not own.isdisjoint(scale.joined)), 1.0)


class LossScale:
    """The present scale of one optimiser, and what keeps it in order.

    Raises:
        CannotEdit: the optimiser holds weights in float16, or computes the loss several times in a step.
    """

    def __init__(self, optimizer: Optimizer, factor: float) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise CannotEdit("ScaleLoss: LBFGS computes the loss several times in a step. Change the optimiser first.")
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if any(parameter.dtype == torch.float16 for parameter in held):
            raise CannotEdit(
                "ScaleLoss: the weights are float16, so gradients would round to zero when they are divided again. "
                "Hold the weights in float32 as well: SetPrecision('float16')."
            )
        self.value = float(factor)
        self.joined = {id(parameter) for parameter in held}
        self._good = 0
        self._is_scaled = False
        self._hooks = [parameter.register_hook(self._divided) for parameter in held if parameter.requires_grad]
        _scales[optimizer] = self

    def scale(self, loss: Tensor) -> None:
        """A backward pass is to begin, or will begin, from this loss."""
        if loss.requires_grad:
            loss.register_hook(self._multiplied)

    def leave(self) -> None:
        """From now on the next backward pass is left as it is."""
        self._is_scaled = False

    def close(self, optimizer: Optimizer) -> None:
        """Take every hook off."""
        _scales.pop(optimizer, None)
        while self._hooks:
            self._hooks.pop().remove()

    def around(self, optimizer: Optimizer, step: Callable[..., Any], closure: Any) -> Any:
        """A step, left out where a gradient is not finite."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not _are_finite(gradients):
            self.value, self._good = self.value * BACKOFF, 0
            return loss
        result = step()
        self._good += 1
        if self._good >= INTERVAL:
            self.value, self._good = self.value * GROWTH, 0
        return loss if closure is not None else result

    def _multiplied(self, gradient: Tensor) -> Tensor:
        self._is_scaled = True
        return gradient * self.value

    def _divided(self, gradient: Tensor) -> Tensor:
        return gradient / self.value if self._is_scaled else gradient


def _are_finite(gradients: Sequence[Tensor]) -> bool:
    values = [gradient.coalesce().values() if gradient.is_sparse else gradient for gradient in gradients]
    by_device: dict[torch.device, list[Tensor]] = {}
    for value in values:
        by_device.setdefault(value.device, []).append(torch.isfinite(value).all())
    return all(bool(torch.stack(found).all()) for found in by_device.values())
