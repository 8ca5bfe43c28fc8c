"""Dynamic loss scaling for trainings that call ``backward`` and ``step`` themselves.

``torch.amp.GradScaler`` does the same where the training loop calls it. Here nobody can write into the loop: the
gradient of the loss is multiplied when a backward pass begins, and divided when it arrives at a leaf, so that whatever
looks at gradients there, clipping for one, finds them as they are.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

from isometry.adapters.torch import process
from isometry.errors import CannotEdit

__all__ = ["LossScale", "are_finite", "gradient_scale", "loss_scale_of", "parameters_of"]

GROWTH, BACKOFF, INTERVAL = 2.0, 0.5, 2000
"""As ``torch.amp.GradScaler`` has them: doubled after so many good steps in a row, halved after a bad one."""

_scales: "WeakKeyDictionary[Optimizer, LossScale]" = WeakKeyDictionary()


def loss_scale_of(optimizer: Optimizer) -> "LossScale | None":
    """The scale of the losses that an optimiser steps on; None where they are not scaled by us."""
    return _scales.get(optimizer)


def gradient_scale(parameters: Iterable[int]) -> float:
    """What gradients were multiplied by inside the network that holds these parameters, given by ``id``, last."""
    own = set(parameters)
    for optimizer, scale in list(_scales.items()):
        if not own.isdisjoint(map(id, parameters_of(optimizer))):
            return scale.used
    return 1.0


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All that an optimiser steps on at present."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


class LossScale:
    """The present scale of one optimiser, and what keeps it in order.

    Raises:
        CannotEdit: the optimiser holds weights in float16, or computes the loss several times in a step.
    """

    def __init__(self, optimizer: Optimizer, factor: float) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise CannotEdit("ScaleLoss: LBFGS computes the loss several times in a step. Change the optimiser first.")
        if any(parameter.dtype == torch.float16 for parameter in parameters_of(optimizer)):
            raise CannotEdit(
                "ScaleLoss: the weights are float16, so gradients would round to zero when they are divided again. "
                "Hold the weights in float32 as well: SetPrecision('float16')."
            )
        self.value = float(factor)
        self.used = 1.0
        """What the last backward pass to the optimiser's parameters was scaled by; 1 where it was left as it is."""
        self._good = 0
        self._before = _scales.get(optimizer)
        _scales[optimizer] = self

    def around(self, optimizer: Optimizer, step: Callable[..., Any], closure: Any) -> Any:
        """A step, left out where a gradient is not finite."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not are_finite(parameters_of(optimizer)):
            self.back_off()
            process.tell_skipped(optimizer)
            return loss
        result = step()
        self._good += 1
        if self._good >= INTERVAL:
            self.value, self._good = self.value * GROWTH, 0
        return loss if closure is not None else result

    def back_off(self) -> None:
        """A gradient was not finite."""
        self.value, self._good = self.value * BACKOFF, 0

    def close(self, optimizer: Optimizer) -> None:
        """The optimiser's losses are scaled no more, or as they were before."""
        if self._before is not None:
            _scales[optimizer] = self._before
        else:
            _scales.pop(optimizer, None)


def are_finite(parameters: Sequence[Tensor]) -> bool:
    """Whether all their gradients are; one copy to the host for each device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    by_device: dict[torch.device, list[Tensor]] = {}
    for gradient in gradients:
        value = gradient.coalesce().values() if gradient.is_sparse else gradient
        by_device.setdefault(value.device, []).append(torch.isfinite(value).all())
    return all(bool(torch.stack(found).all()) for found in by_device.values())
