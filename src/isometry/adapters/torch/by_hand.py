"""A training whose weights no optimiser of torch's changes: steps show only in the weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isometry.adapters.torch.optimisers import Stepper, keep_weights, measure_gradients, measure_updates
from isometry.adapters.torch.recording import Recording
from isometry.adapters.torch.sites import Sites

__all__ = ["ByHand"]

FINGERPRINT = 64
"""Elements of a parameter that tell whether a step was taken."""


class ByHand:
    """Reads gradients and weights right after each backward pass, and looks at the next forward pass for a step."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._stepper: Stepper | None = None
        self._fingerprint: list[Tensor] = []

    def read(
        self,
        recording: Recording | None,
        heard: set[int],
        targets: Sequence[Any] | None,
        gradients: Sequence[Any] | None,
    ) -> None:
        """A backward pass has ended.

        Args:
            recording: of this step, if it is recorded.
            heard: ids of the parameters that ever had a gradient.
            targets: what ``torch.autograd.grad`` was asked about; None where gradients lie in ``.grad``.
            gradients: what it gave.
        """
        given = None
        if targets is not None and gradients is not None:
            given = {id(t): g for t, g in zip(targets, gradients, strict=False) if g is not None}
        self._stepper = Stepper(None, self._sites, 0)
        if recording is not None:
            measure_gradients(recording, self._stepper.sites, heard, given)
            keep_weights(recording, self._stepper)
        self._fingerprint = [_few(parameter).clone() for parameter in self._stepper.trained()]

    def has_stepped(self) -> bool:
        """Whether the weights have changed since the backward pass."""
        if not self._fingerprint or self._stepper is None:
            return False
        now = [_few(parameter) for parameter in self._stepper.trained()]
        return not all(torch.equal(new, old) for new, old in zip(now, self._fingerprint, strict=False))

    def end_step(self, recording: Recording | None) -> None:
        """That change was a step."""
        if recording is not None and self._stepper is not None:
            measure_updates(recording, self._stepper)
        self.forget()

    def forget(self) -> None:
        self._fingerprint.clear()


def _few(parameter: Tensor) -> Tensor:
    return parameter.detach().reshape(-1)[:FINGERPRINT]
