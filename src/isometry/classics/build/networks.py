"""Networks of the classics, written the ordinary way."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "linear_chain", "mlp"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softsign": nn.Softsign,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


def linear_chain(factor: float, *, depth: int, width: int) -> nn.Sequential:
    """Layers W = a · I without bias and without nonlinearity."""
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    for layer in layers:
        with torch.no_grad():
            layer.weight.copy_(factor * torch.eye(width))
    return nn.Sequential(*layers)


def mlp(
    widths: Sequence[int],
    activation: str,
    *,
    initialise: Callable[[Tensor], object] | None = None,
    after: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Linear layers with a nonlinearity between them; the last gives logits.

    Args:
        widths: of the input, of every hidden layer, of the output.
        activation: of the hidden layers, by its name in ``ACTIVATIONS``.
        initialise: fills each weight matrix; biases are 0 then. Without it torch's own initialisation stays.
        after: makes what follows each activation from its width, such as ``nn.BatchNorm1d``.
    """
    parts: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        layer = nn.Linear(inputs, outputs)
        if initialise is not None:
            initialise(layer.weight)
            nn.init.zeros_(layer.bias)
        parts.append(layer)
        if place < len(widths) - 2:
            parts.append(ACTIVATIONS[activation]())
            if after is not None:
                parts.append(after(outputs))
    return nn.Sequential(*parts)
