"""Lets an optimiser that is there already train the parameters that a change has put into its model."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["join", "trained", "untrained_before"]


def trained(model: nn.Module) -> frozenset[int]:
    """The parameters that ask for a gradient, as ``untrained_before`` takes them."""
    return frozenset(id(parameter) for parameter in model.parameters() if parameter.requires_grad)


def untrained_before(model: nn.Module, before: frozenset[int]) -> dict[str, Tensor]:
    """Parameters that have come since, or that were frozen then, by name."""
    named = model.named_parameters()
    return {name: value for name, value in named if value.requires_grad and id(value) not in before}


def join(optimizer: torch.optim.Optimizer, model: nn.Module, newcomers: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Put parameters of a model into the group that holds most of its others; nothing else changes.

    The group, and with it every schedule of its rate, is one that is there already. Whatever the optimiser knows of
    other parameters stays.

    Args:
        optimizer: one that may train the model, or may have nothing to do with it.
        model: it has the newcomers by now.
        newcomers: parameters that came with a change, or were frozen before it.

    Returns:
        Those that were put in: none where the optimiser trains nothing of this model, or has them.
    """
    own = {id(parameter) for parameter in model.parameters()}
    held = [sum(id(parameter) in own for parameter in group["params"]) for group in optimizer.param_groups]
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = tuple(newcomer for newcomer in newcomers if id(newcomer) not in known)
    if not missing or not any(held):
        return ()
    optimizer.param_groups[held.index(max(held))]["params"].extend(missing)
    return missing
