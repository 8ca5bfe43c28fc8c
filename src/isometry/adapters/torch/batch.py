"""Inspectors of models, from batches as users write them."""

import inspect as signatures
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from isometry.adapters.torch.capture import Captured
from isometry.adapters.torch.inspector import Inspector, own_numbers
from isometry.adapters.torch.roots import uncompiled
from isometry.adapters.torch.train import first_batch
from isometry.errors import IsometryError
from isometry.network.experiment import Experiment

__all__ = ["Call", "call_of", "inspect", "inspect_captured", "inspect_experiment"]


@dataclass(frozen=True, slots=True)
class Call:
    """One forward pass, and what becomes of its output."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    loss: Callable[[Any], Any] | None = None
    """Model's output → loss; None where no loss is known."""


def inspect(
    model: nn.Module, batch: Any, loss_fn: Callable[[Any, Any], Any] | None = None, *, seed: int = 0
) -> Inspector:
    """An inspector of a model and a batch, as ``call_of`` reads them."""
    call = call_of(model, batch, loss_fn)
    return Inspector(model, call.args, call.kwargs, loss_fn=call.loss, seed=seed)


def inspect_experiment(experiment: Experiment, *, seed: int = 0) -> Inspector:
    """An inspector of the first step of an experiment; the caller's random numbers stay as they were."""
    with own_numbers(seed):
        model = uncompiled(experiment.build())
        try:
            inputs, targets = first_batch(experiment, seed)
        except IsometryError:
            raise
        except Exception as fault:
            raise IsometryError(
                f"experiment.data gives no batch: {type(fault).__name__}: {fault}. It is (inputs, targets), a dataset, "
                "or batches of the two in a list or a loader."
            ) from fault
    return Inspector(model, (inputs,), {}, loss_fn=lambda output: experiment.loss_fn(output, targets), seed=seed)


def inspect_captured(captured: Captured, *, seed: int = 0) -> Inspector:
    """An inspector of the first step of somebody's script."""
    return Inspector(
        captured.model,
        captured.args,
        captured.kwargs,
        cotangents=captured.cotangents,
        loss=captured.loss,
        loss_kind=captured.loss_kind,
        notes=captured.notes,
        seed=seed,
    )


def call_of(model: nn.Module, batch: Any, loss_fn: Callable[[Any, Any], Any] | None) -> Call:
    """How to call a model with a batch.

    Args:
        model: it is not run.
        batch: ``(inputs, targets)``, where inputs may be several in a tuple or named in a dict; or the inputs alone; or
            a dict that the model takes by name, as those of transformers do.
        loss_fn: (model's output, targets) → one number. Without it the loss is taken from an output that has one.
    """
    batch = tree_map(lambda value: torch.as_tensor(value) if isinstance(value, np.ndarray) else value, batch)
    if isinstance(batch, Mapping):
        return Call((), dict(batch), _with_targets(loss_fn, batch) or _own_loss)
    if isinstance(batch, Tensor):
        return Call((batch,), {}, _with_targets(loss_fn, batch) or _own_loss)
    if not isinstance(batch, list | tuple) or not batch:
        raise IsometryError(
            f"batch: a {type(batch).__name__} was given; (inputs, targets), a tensor or a dict of tensors is needed, "
            "as one batch of the training data."
        )
    if loss_fn is None and _takes(model) >= len(batch):
        return Call(tuple(batch), {}, _own_loss)
    if len(batch) != 2:
        raise IsometryError(
            f"batch: {len(batch)} values were given; (inputs, targets) is needed. Put several inputs into a tuple of "
            "their own: ((first, second), targets)."
        )
    inputs, targets = batch
    loss = _with_targets(loss_fn, targets) or _own_loss
    if isinstance(inputs, Mapping):
        return Call((), dict(inputs), loss)
    return Call(tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,), {}, loss)


def _with_targets(loss_fn: Callable[[Any, Any], Any] | None, targets: Any) -> Callable[[Any], Any] | None:
    return None if loss_fn is None else lambda output: loss_fn(output, targets)


def _own_loss(output: Any) -> Any:
    """The loss that a model computes itself, as those of transformers do when they are given labels; None if none."""
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return found if isinstance(found, Tensor) and found.requires_grad else None


def _takes(model: nn.Module) -> int:
    """How many inputs the forward pass asks for in order; 1 where that cannot be told."""
    try:
        parameters = signatures.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return max(len(needed), 1)
