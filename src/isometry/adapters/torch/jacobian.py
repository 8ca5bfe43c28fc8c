"""The Jacobian of a live model from input to output, known only by its products with vectors."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from isometry.adapters.torch.recording import tensors_in
from isometry.history.inspection import JacobianFacts

__all__ = ["jacobian_of"]

SAMPLES = 8
"""Samples of the batch that are looked at."""
PROBES = 2
"""Random directions for the traces; each is drawn for every sample."""
ROUNDS = 3
"""Of power iteration, for the largest singular value."""


def jacobian_of(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> JacobianFacts:
    """Moments of the singular values of ∂output/∂input, sample by sample, averaged over the batch.

    tr JᵀJ = E ‖J v‖² and tr (JᵀJ)² = E ‖JᵀJ v‖² for v of random direction and length √inputs; J v is found by deriving
    Jᵀu twice, so that whatever autograd can derive twice will do.

    Where a model normalises over the batch, the samples' Jacobians hang together and are taken as one.

    Args:
        model: it is run as it is.
        args: what its forward pass takes; the first tensor of real numbers is the input.
        kwargs: likewise, by name.

    Sources: Hutchinson 1989; Pennington, Schoenholz & Ganguli 2017, section 2.
    """
    args, kwargs = _some((args, dict(kwargs)))
    entry = next((t for t in tensors_in([args, kwargs]) if t.is_floating_point() and t.dim() > 1), None)
    if entry is None:
        return _not_measured("the input is no tensor of real numbers: whole numbers have no Jacobian")
    entry.requires_grad_()
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        with sdpa_kernel(SDPBackend.MATH):
            # A copy goes in, for a model may write into what it is given.
            args, kwargs = tree_map(lambda value: entry.clone() if value is entry else value, (args, kwargs))
            leaving = next((t for t in tensors_in(model(*args, **kwargs)) if t.requires_grad), None)
            if leaving is None or leaving.shape[:1] != entry.shape[:1]:
                return _not_measured("the output has no row for each sample of the input")
            return _moments(entry, leaving)
    except RuntimeError as fault:
        return _not_measured(f"autograd cannot derive this model twice: {str(fault).splitlines()[0]}")
    finally:
        for parameter in asked:
            parameter.requires_grad_()


def _some(batch: Any) -> Any:
    """The first samples of every tensor that has a row for each."""
    tensors = [tensor for tensor in tensors_in(batch) if tensor.dim() > 0]
    rows = len(tensors[0]) if tensors else 0
    if not all(len(tensor) == rows for tensor in tensors):
        return batch
    return tree_map(lambda value: value[:SAMPLES] if isinstance(value, Tensor) and value.dim() > 0 else value, batch)


def _moments(entry: Tensor, leaving: Tensor) -> JacobianFacts:
    dummy = torch.zeros_like(leaving, requires_grad=True)
    # Sums of products, not gradients given to autograd: for those torch imports symbolic shapes, for a second.
    (pulled,) = torch.autograd.grad((leaving * dummy).sum(), entry, create_graph=True)

    def push(direction: Tensor) -> Tensor:  # J v
        return torch.autograd.grad((pulled * direction).sum(), dummy, retain_graph=True)[0]

    def pull(direction: Tensor) -> Tensor:  # Jᵀ u
        return torch.autograd.grad((leaving * direction).sum(), entry, retain_graph=True)[0]

    samples = entry.shape[0]
    inputs, outputs = entry.numel() // samples, leaving.numel() // samples
    trace = trace_of_square = 0.0
    for _ in range(PROBES):
        direction = torch.randn_like(entry)
        pushed = push(direction * (inputs**0.5 / _lengths(direction)))  # of one length: an isometry has no scatter then
        trace += _square(pushed) / (PROBES * samples)
        trace_of_square += _square(pull(pushed)) / (PROBES * samples)
    rank = min(inputs, outputs)
    mean_square = trace / rank
    variance = trace_of_square / rank / mean_square**2 - 1 if mean_square > 0 else math.nan
    return JacobianFacts(inputs, outputs, PROBES, mean_square, variance, _largest(entry, push, pull))


def _largest(entry: Tensor, push: Any, pull: Any) -> float:
    """The largest singular value, of the sample that has the largest."""
    direction = torch.randn_like(entry)
    stretch = torch.zeros(entry.shape[0])
    for _ in range(ROUNDS):
        direction = direction / _lengths(direction).clamp_min(torch.finfo(direction.dtype).tiny)
        pushed = push(direction)
        stretch = _lengths(pushed)
        direction = pull(pushed)
    return float(stretch.max())


def _lengths(values: Tensor) -> Tensor:
    """Length of every sample, shaped to divide by."""
    norms: Tensor = values.flatten(1).double().norm(dim=1).to(values.dtype)
    return norms.reshape(-1, *[1] * (values.dim() - 1))


def _square(values: Tensor) -> float:
    return float(values.double().square().sum())


def _not_measured(reason: str) -> JacobianFacts:
    return JacobianFacts(0, 0, 0, math.nan, math.nan, math.nan, reason)
