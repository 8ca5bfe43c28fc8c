"""All singular values of ∂output/∂input, where the Jacobian is small enough to be written down."""

import math
from collections.abc import Callable, Iterator
from time import thread_time

import torch
from torch import Tensor

from isometry.errors import UnsupportedModel
from isometry.history.inspection import Spectrum

__all__ = ["spectrum_of", "transposed_products"]

Pass = tuple[Tensor, Tensor]
"""Input and output of one forward pass."""

MOST_SAMPLES = 8
MOST_PASSES = 128
"""Backward passes for one Jacobian: more take longer than all the rest of a check."""
SECONDS = 0.7
"""For all those passes; where they take longer, fewer samples are looked at."""
MOST_NUMBERS = 16_000_000
"""In all Jacobians, likewise: half a second of singular value decompositions."""
ROUNDING = 8
"""Times the resolution of the number type. Calibrated: the singular value that a softmax makes 0 comes out at 0.1 to 3
resolutions of the largest, in tanh, ReLU and linear networks of 3 to 100 layers and 32 to 3,072 inputs."""


def spectrum_of(passed: Pass, again: Callable[[int], Pass]) -> Spectrum | str:
    """The singular values of the first samples' Jacobians, or why they were not computed.

    One backward pass gives one row of the Jacobian of every sample, as long as the samples do not depend on each other;
    where there are fewer inputs than outputs it is derived once more, for the columns.

    Args:
        passed: the pass to derive; the input asks for gradients.
        again: makes the same pass with fewer samples; raises UnsupportedModel where it cannot.
    """
    entry, leaving = passed
    samples = len(entry)
    least, most = sorted((entry.numel() // samples, leaving.numel() // samples))
    if least > MOST_PASSES:
        return f"inputs and outputs are more than {MOST_PASSES} each"
    target, source = _fewer_first(entry, leaving)
    together, pace = _hang_together(target, source, hopeless=SECONDS * min(samples, MOST_SAMPLES) / least)
    size, wanted = (samples, 1) if together else (1, min(samples, MOST_SAMPLES))
    if least * size > MOST_PASSES:
        return f"the {samples} samples depend on each other, and together have more than {MOST_PASSES} of them"
    kept = _affordable(wanted, least * size, most * size, pace)
    if kept < wanted and (together or not kept):
        return _too_long(least * size)
    if kept < wanted:
        try:
            target, source = _fewer_first(*again(kept))
        except UnsupportedModel as reason:
            return str(reason)
        slow = _seconds(target, source) * least > 2 * SECONDS  # most of a pass takes its time whatever the samples
        if len(target) > kept or slow:
            return _too_long(least)
    rows = torch.stack([row[:kept] for row in _rows(target, source, together)], dim=1)
    resolution = max(torch.finfo(tensor.dtype).eps for tensor in (entry, leaving))
    values = tuple(_singular_values(matrix) for matrix in rows)
    return Spectrum(values, samples if together else kept, together, ROUNDING * resolution)


def _affordable(wanted: int, rows: int, columns: int, pace: float) -> int:
    """Matrices of this shape that there is time for."""
    share = min(SECONDS / max(pace * rows, 1e-9), MOST_NUMBERS / (wanted * rows * columns))
    return wanted if share >= 1 else math.floor(share * wanted)


def _too_long(passes: int) -> str:
    return f"{passes} backward passes through this network would take too long"


def transposed_products(entry: Tensor, leaving: Tensor) -> tuple[Tensor, Tensor]:
    """Jᵀ u of every sample, and the u that it can be derived by: what gives J v without forward differentiation."""
    dummy = torch.zeros_like(leaving, requires_grad=True)
    # Sums of products, not gradients given to autograd: for those torch imports symbolic shapes, for a second.
    (pulled,) = torch.autograd.grad((leaving * dummy).sum(), entry, create_graph=True)
    return pulled, dummy


def _fewer_first(entry: Tensor, leaving: Tensor) -> tuple[Tensor, Tensor]:
    """What to derive, and by what: J, or its transpose where that has fewer rows."""
    return (leaving, entry) if leaving.numel() <= entry.numel() else transposed_products(entry, leaving)


def _hang_together(target: Tensor, source: Tensor, *, hopeless: float) -> tuple[bool, float]:
    """Whether a sample's target depends on another's source, and the seconds that one backward pass takes.

    Any two samples differ in a bit of their numbers: those that have the bit are derived, those that have not are read.
    Left off where one pass takes longer than is hopeless.
    """
    numbers, pace = torch.arange(len(target), device=target.device), math.inf
    for bit in range((len(target) - 1).bit_length()):
        for has in (0, 1):
            chosen = (numbers >> bit & 1) == has
            started = thread_time()
            others = _pulled(target[chosen], source)[~chosen]
            together = bool((others.isfinite() & (others != 0)).any())
            pace = min(pace, thread_time() - started)
            if together or pace > hopeless:
                return together, pace
    return False, min(pace, _seconds(target, source))


def _seconds(target: Tensor, source: Tensor) -> float:
    started = thread_time()
    _pulled(target, source).cpu()
    return thread_time() - started


def _pulled(target: Tensor, source: Tensor) -> Tensor:
    """A random direction sent back: that of a plain sum is lost in a softmax."""
    return torch.autograd.grad((target * torch.randn_like(target)).sum(), source, retain_graph=True)[0]


def _rows(target: Tensor, source: Tensor, together: bool) -> Iterator[Tensor]:
    """One row of each sample's Jacobian after the other; of the Jacobian of all samples. shape (matrices, columns)"""
    places = target.flatten(0)[None] if together else target.flatten(1)
    for place in range(places.shape[1]):
        (row,) = torch.autograd.grad(places[:, place].sum(), source, retain_graph=True)
        yield row.detach().flatten(0)[None].cpu() if together else row.detach().flatten(1).cpu()


def _singular_values(matrix: Tensor) -> tuple[float, ...]:
    if not bool(matrix.isfinite().all()):
        return (math.nan,) * min(matrix.shape)
    return tuple(torch.linalg.svdvals(matrix.double()).tolist())
