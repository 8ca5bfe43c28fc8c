"""The Jacobian of a live model from input to output: all singular values, or their moments by products J v and Jᵀ u."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from isometry.adapters.torch.recording import tensors_in
from isometry.adapters.torch.spectrum import spectrum_of, transposed_products
from isometry.errors import UnsupportedModel
from isometry.history.inspection import JacobianFacts, Spectrum

__all__ = ["jacobian_of"]

SAMPLES = 8
"""Samples of the batch that are looked at."""
PROBES = 2
"""Random directions for the traces; each is drawn for every sample."""
ROUNDS = 3
"""Of power iteration, for the largest singular value."""


def jacobian_of(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> JacobianFacts:
    """Singular values of ∂output/∂input, sample by sample, and their moments over the first samples of the batch.

    All of them where there are few. Else tr JᵀJ = E ‖J v‖² and tr (JᵀJ)² = E ‖JᵀJ v‖² for v of random direction and
    length √inputs; J v is found by deriving Jᵀu twice, so that whatever autograd can derive twice will do.

    Where a model normalises over the batch, the samples' Jacobians hang together and are taken as one.

    Args:
        model: it is run as it is.
        args: what its forward pass takes; the first tensor of real numbers is the input.
        kwargs: likewise, by name.

    Sources: Hutchinson 1989; Pennington, Schoenholz & Ganguli 2017, section 2.
    """
    batch = args, dict(kwargs)
    if _entry(batch) is None:
        return _not_measured("the input is no tensor of real numbers: whole numbers have no Jacobian")
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        with sdpa_kernel(SDPBackend.MATH):
            entry, leaving = _pass(model, batch, SAMPLES)
            spectrum = spectrum_of((entry, leaving), lambda samples: _pass(model, batch, samples))
            return (
                _estimated(entry, leaving, spectrum)
                if isinstance(spectrum, str)
                else _computed(entry, leaving, spectrum)
            )
    except RuntimeError as fault:
        return _not_measured(f"autograd cannot derive this model: {str(fault).splitlines()[0]}")
    except UnsupportedModel as reason:
        return _not_measured(str(reason))
    finally:
        for parameter in asked:
            parameter.requires_grad_()


def _pass(model: nn.Module, batch: Any, samples: int) -> tuple[Tensor, Tensor]:
    """Input and output of the first samples.

    Raises:
        UnsupportedModel: the model fails with so few, or its output has no row for each.
    """
    args, kwargs = _some(batch, samples)
    entry = _entry((args, kwargs))
    assert entry is not None
    entry.requires_grad_()
    # A copy goes in, for a model may write into what it is given.
    args, kwargs = tree_map(lambda value: entry.clone() if value is entry else value, (args, kwargs))
    try:
        outputs = model(*args, **kwargs)
    except Exception as fault:
        told = f"{type(fault).__name__}: {fault}".splitlines()[0]
        raise UnsupportedModel(f"the forward pass fails with {len(entry)} samples: {told}") from fault
    leaving = next((t for t in tensors_in(outputs) if t.requires_grad), None)
    if leaving is None or leaving.shape[:1] != entry.shape[:1]:
        raise UnsupportedModel("the output has no row for each sample of the input")
    return entry, leaving


def _entry(batch: Any) -> Tensor | None:
    return next((t for t in tensors_in(batch) if t.is_floating_point() and t.dim() > 1), None)


def _some(batch: Any, samples: int) -> Any:
    """The first samples of every tensor that has a row for each."""
    tensors = [tensor for tensor in tensors_in(batch) if tensor.dim() > 0]
    rows = len(tensors[0]) if tensors else 0
    if not all(len(tensor) == rows for tensor in tensors):
        return batch
    return tree_map(lambda value: value[:samples] if isinstance(value, Tensor) and value.dim() > 0 else value, batch)


def _computed(entry: Tensor, leaving: Tensor, spectrum: Spectrum) -> JacobianFacts:
    values = np.array(spectrum.values)
    largest = float(values.max())
    mean_square, variance = 0.0, math.nan
    if largest != 0:
        squares = (values / largest) ** 2  # fourth powers of small ones would be 0
        mean_square = float(squares.mean()) * largest**2
        variance = float((squares**2).mean() / squares.mean() ** 2) - 1
    inputs, outputs = (tensor.numel() // len(tensor) for tensor in (entry, leaving))
    return JacobianFacts(inputs, outputs, 0, mean_square, variance, largest, spectrum=spectrum)


def _estimated(entry: Tensor, leaving: Tensor, unlisted: str) -> JacobianFacts:
    pulled, dummy = transposed_products(entry, leaving)

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
    largest = _largest(entry, push, pull)
    return JacobianFacts(inputs, outputs, PROBES, mean_square, variance, largest, unlisted=unlisted)


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
