"""A recurrent network whose gradient explodes through time, and gradient clipping of many models side by side."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from isometry.network.experiment import Experiment

__all__ = ["ClippedSGD", "Recurrent", "remember"]

How = Literal["none", "norm", "value"]


class Recurrent(nn.Module):
    """h = tanh(W h + U x) from step to step, a linear readout of the last h; W has variance gain² / n.

    The readout is divided by √n: otherwise it diverges by itself, at rates that the recurrence can bear.
    """

    def __init__(self, *, gain: float, width: int = 32) -> None:
        super().__init__()
        self.read = nn.Linear(1, width)
        self.recurrent = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, 1)
        nn.init.normal_(self.read.weight)
        nn.init.normal_(self.recurrent.weight, std=gain / width**0.5)
        nn.init.normal_(self.output.weight)
        for layer in (self.read, self.output):
            nn.init.zeros_(layer.bias)

    def forward(self, sequence: Tensor) -> Tensor:
        """Sequences in, numbers out. shapes (batch, time, 1), (batch, 1)"""
        driven = self.read(sequence)
        state = torch.tanh(driven[:, 0])
        for time in range(1, sequence.shape[1]):
            state = torch.tanh(driven[:, time] + self.recurrent(state))
        read: Tensor = self.output(state) / self.recurrent.in_features**0.5
        return read


class ClippedSGD(torch.optim.SGD):
    """Stochastic gradient descent behind gradient clipping, of one model or of each of many in stacked tensors.

    Clipping by norm takes all parameters of a model together, and each model by itself: with stacked parameters, of
    shape (models, …), a norm over whole tensors would mix models that have nothing to do with each other.
    """

    def __init__(
        self, parameters: Iterable[Any], *, how: How, threshold: float, rates: Sequence[float], stacked: bool
    ) -> None:
        """Make one.

        Args:
            parameters: of the model, or stacked.
            how: ``norm`` scales a model's whole gradient down to the threshold, ``value`` cuts every element at it.
            threshold: of the norm, or of an element's size.
            rates: learning rate of each model.
            stacked: whether the parameters' first direction counts models.
        """
        super().__init__(parameters, lr=1.0)
        self.how, self.threshold, self.stacked = how, threshold, stacked
        self.rates = torch.tensor(rates)
        self.norms: list[Tensor] = []
        """Norm of each model's gradient before clipping, step by step. shape (models,)"""
        self.cosines: list[Tensor] = []
        """Between each model's gradient and the clipped one. shape (models,)"""
        self.changed: list[Tensor] = []
        """Whether clipping did anything to each model's gradient. shape (models,)"""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Clip, and take the step."""
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad if self.stacked else p.grad[None] for p in parameters]
        raw = [gradient.clone() for gradient in gradients]
        norms = _dot(raw, raw).sqrt()
        for gradient in gradients:
            if self.how == "norm":  # as torch.nn.utils.clip_grad_norm_ has it
                gradient.mul_(_along(torch.clamp(self.threshold / (norms + 1e-6), max=1.0), gradient))
            elif self.how == "value":
                gradient.clamp_(-self.threshold, self.threshold)
        self.norms.append(norms)
        self.cosines.append(_cosine(gradients, raw))
        differs = [(new != old).flatten(1).any(1) for new, old in zip(gradients, raw, strict=True)]
        self.changed.append(torch.stack(differs).any(0))
        for gradient in gradients:
            gradient.mul_(_along(self.rates, gradient))
        super().step(closure)


def _dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """Inner product of each model's gradients. shape (models,)"""
    return torch.stack([(a * b).flatten(1).sum(1) for a, b in zip(left, right, strict=True)]).sum(0)


def _cosine(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """In double precision, and scaled by the largest element: squares of exploding gradients leave float32."""
    left, right = _scaled(left), _scaled(right)
    return _dot(left, right) / (_dot(left, left) * _dot(right, right)).sqrt()


def _scaled(parts: list[Tensor]) -> list[Tensor]:
    largest = torch.stack([part.flatten(1).abs().amax(1) for part in parts]).amax(0).double()
    return [part.double() / _along(largest, part) for part in parts]


def _along(values: Tensor, stacked: Tensor) -> Tensor:
    return values.view(-1, *[1] * (stacked.dim() - 1))


def remember(*, gain: float, length: int, rows: int, epochs: int, seed: int, optimizer: Any) -> Experiment:
    """Say at the end which of −1 and +1 came first; what follows is noise of a tenth of its size.

    The loss is the mean squared error: always answering 0 has 1.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 2, (rows, 1), generator=generator) * 2.0 - 1.0
    sequences = 0.1 * torch.randn(rows, length, 1, generator=generator)
    sequences[:, 0] = first
    return Experiment(
        build=lambda: Recurrent(gain=gain),
        data=(sequences, first),
        loss_fn=nn.functional.mse_loss,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=32,
    )
