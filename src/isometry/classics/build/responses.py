"""What the nonlinearities of a network give for one batch."""

import torch
from torch import Tensor, nn

__all__ = ["activation_means", "activation_spreads"]


def activation_means(model: nn.Module, inputs: Tensor) -> list[float]:
    """Mean activation of every hidden layer, input first."""
    return [float(activation.double().mean()) for activation in _activations(model, inputs)]


def activation_spreads(model: nn.Module, inputs: Tensor) -> list[float]:
    """Standard deviation of the activations of every hidden layer, over units and samples together, input first."""
    return [float(activation.double().std(correction=0)) for activation in _activations(model, inputs)]


@torch.no_grad()
def _activations(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Outputs of the modules that have no parameters and are no containers: the nonlinearities of an ``mlp``."""
    found, signal = [], inputs
    for part in model.children():
        signal = part(signal)
        if not list(part.parameters()):
            found.append(signal)
    return found
