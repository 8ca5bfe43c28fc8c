"""Signals of a network at one batch, read by hooks of its own: many seeds without as many watched runs."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["delta_profile", "delta_profiles"]

Floats = NDArray[np.float64]
Loss = Callable[[Any, Any], Tensor]


def delta_profile(model: nn.Module, inputs: Tensor, targets: Tensor, loss_fn: Loss) -> Floats:
    """Size of δ = ∂L/∂z at every linear layer, input first. [rms], shape (layers,)"""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, given: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(keep) for module in linear]
    loss_fn(model(inputs), targets).backward()
    for handle in handles:
        handle.remove()
    return np.array(
        [float(output.grad.double().square().mean().sqrt()) for output in outputs if output.grad is not None]
    )


def delta_profiles(
    build: Callable[[], nn.Module], seeds: Iterable[int], batch: tuple[Tensor, Tensor], loss_fn: Loss
) -> Floats:
    """The same of an untrained network for each seed, which draws its weights. [rms], shape (seeds, layers)"""
    profiles = []
    with torch.random.fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            profiles.append(delta_profile(build().train(), *batch, loss_fn))
    return np.array(profiles)
