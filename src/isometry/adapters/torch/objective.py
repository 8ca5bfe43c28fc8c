"""The loss of each step, noticed by itself: pieced together, fetched from the accelerator, watched for jumps."""

from collections import deque
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor

__all__ = ["Objective"]

PENDING = 64
"""Losses that stay on an accelerator before they are fetched together."""
JUMP = 20.0
"""A loss so many times its median absolute deviation away from its median raises an alarm; noise hardly ever does."""


class Objective:
    """Losses of the backward passes of a training, on their way into one curve.

    Args:
        write: keeps the loss of a step.
        alarm: is told in words what makes the next steps worth recording.
    """

    def __init__(self, write: Callable[[int, float], None], alarm: Callable[[str], None]) -> None:
        self.scale: Tensor | None = None
        """What a gradient scaler multiplied the loss by, last."""
        self._write = write
        self._alarm = alarm
        self._losses: list[float | Tensor] = []
        self._pending: list[tuple[int, Tensor, Tensor | None]] = []
        self._recent: deque[float] = deque(maxlen=32)
        self._lost = False

    def factor(self) -> float:
        """The loss scale as a number; 1 where there is none."""
        return float(self.scale) if self.scale is not None else 1.0

    @property
    def has_losses(self) -> bool:
        """Whether a backward pass of this step has begun before."""
        return bool(self._losses)

    def forget(self) -> None:
        """The gradients of this step so far were thrown away, and their losses count no more."""
        self._losses.clear()

    def add(self, loss: Tensor) -> float | None:
        """A backward pass begins from this loss.

        Returns:
            Its value, unscaled; None while it stays on an accelerator, or where it was multiplied by 0.
        """
        value = loss.detach()
        if value.device.type == "cpu":
            factor = self.factor()
            if factor == 0:
                return None
            number = float(value) / factor
            self._losses.append(number)
            return number
        self._losses.append(value / self.scale if self.scale is not None else value.clone())
        return None

    def end_step(self, step: int, *, summed: bool, recorded: bool) -> None:
        """Write the loss of the step that is over.

        Args:
            step: its number.
            summed: the losses of its backward passes add up to the one that was optimised; else their mean is kept.
            recorded: the device waits for the host anyway.
        """
        losses, self._losses = self._losses, []
        if not losses:
            return
        share = 1.0 if summed else 1.0 / len(losses)
        on_host = [loss for loss in losses if isinstance(loss, float)]
        if len(on_host) == len(losses):
            whole = sum(on_host) * share
            self._write(step, whole)
            self._watch_for_jumps(whole)
            return
        stacked = torch.stack([torch.as_tensor(loss).reshape(()).double() for loss in losses]).sum() * share
        self._pending.append((step, stacked, self.scale.clone() if self.scale is not None else None))
        if len(self._pending) >= PENDING or recorded:
            self.flush()

    def _watch_for_jumps(self, loss: float) -> None:
        """A loss far outside its recent scatter: the next steps are worth recording."""
        recent = self._recent
        if len(recent) == recent.maxlen:
            middle = median(recent)
            scatter = median(abs(earlier - middle) for earlier in recent)
            if abs(loss - middle) > JUMP * scatter > 0:
                self._alarm(f"the loss jumped from about {middle:.4g} to {loss:.4g}")
                recent.clear()
        recent.append(loss)

    def flush(self) -> None:
        """Fetch the losses that wait on an accelerator, in one copy. Those that were multiplied by 0 are unknown."""
        if not self._pending:
            return
        factors = [torch.ones_like(value) if scale is None else scale.double() for _, value, scale in self._pending]
        pairs = torch.stack([*(value for _, value, _ in self._pending), *(f.reshape(()) for f in factors)]).cpu()
        known, factor = pairs.reshape(2, -1).tolist()
        kept = [(step, value) for (step, _, _), value, f in zip(self._pending, known, factor, strict=True) if f != 0]
        values = [value for _, value in kept]
        for step, value in kept:
            self._write(step, value)
        if not self._lost and not np.isfinite(values).all():
            self._lost = True
            self._alarm("the loss is not finite")
        self._pending.clear()
