"""Ways to clip a gradient before a step."""

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["CLIPPED_BY"]

Parameters = Sequence[Tensor]
Clipping = Callable[[Parameters], None]
"""Clips the gradients of these parameters, in place."""

RECENT = 1_000
"""Steps whose norms are remembered."""
LEAST_NORM = 1e-3
"""Of a unit's weights: below it they count as so large. Sources: Brock et al. 2021, section 4."""
FORGETTING, SETTLING = 0.97, 25
"""Of the moving mean and variance, and steps before they count. Sources: Kumar et al. 2025 (ZClip)."""


def _by_norm(threshold: float) -> Clipping:
    def clip(parameters: Parameters) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, threshold)

    return clip


def _by_value(threshold: float) -> Clipping:
    def clip(parameters: Parameters) -> None:
        torch.nn.utils.clip_grad_value_(parameters, threshold)

    return clip


def _adaptive(threshold: float) -> Clipping:
    """Unit by unit, at a share of the norm of its weights; vectors count as one.

    Sources: Brock et al. 2021, equation 3.
    """

    @torch.no_grad()
    def clip(parameters: Parameters) -> None:
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is None:
                continue
            weight, own = _norms_of_units(parameter), _norms_of_units(gradient)
            most = threshold * weight.clamp(min=LEAST_NORM)
            gradient.mul_(torch.where(own > most, most / own, torch.ones_like(own)))

    return clip


def _norms_of_units(values: Tensor) -> Tensor:
    """Norm over all dimensions but the first, which counts the units."""
    dims = tuple(range(1, values.dim())) or None
    norms: Tensor = torch.linalg.vector_norm(values, dim=dims, keepdim=True)
    return norms


def _percentile(threshold: float) -> Clipping:
    """At a percentile of the latest norms.

    Sources: Seetharaman et al. 2020 (AutoClip), who remember all of them.
    """
    norms: deque[Tensor] = deque(maxlen=RECENT)

    def clip(parameters: Parameters) -> None:
        norm = _norm(parameters)
        if torch.isfinite(norm):
            norms.append(norm)
        if norms:
            _scale(parameters, norm, float(torch.quantile(torch.stack(tuple(norms)), threshold / 100)))

    return clip


def _zscore(threshold: float) -> Clipping:
    """Where the norm stands out from its moving mean: to less of a distance, the more it stood out.

    Sources: Kumar et al. 2025 (ZClip).
    """
    first: list[float] = []
    mean, variance = 0.0, 0.0

    def clip(parameters: Parameters) -> None:
        nonlocal mean, variance
        norm = float(_norm(parameters))
        if not 0 <= norm < float("inf"):
            return
        if len(first) < SETTLING:
            first.append(norm)
            mean = sum(first) / len(first)
            variance = sum((one - mean) ** 2 for one in first) / len(first)
            return
        deviation = variance**0.5
        if norm - mean > threshold * deviation > 0:
            most = mean + threshold**2 * deviation**2 / (norm - mean)
            _scale(parameters, torch.tensor(norm), most)
            norm = most
        variance = FORGETTING * variance + (1 - FORGETTING) * (norm - mean) ** 2
        mean = FORGETTING * mean + (1 - FORGETTING) * norm

    return clip


def _norm(parameters: Parameters) -> Tensor:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).detach().cpu()


def _scale(parameters: Parameters, norm: Tensor, most: float) -> None:
    """Make a gradient of this norm no longer than ``most``."""
    if norm > most:
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)


CLIPPED_BY: dict[str, Callable[[float], Clipping]] = {
    "norm": _by_norm,
    "value": _by_value,
    "adaptive": _adaptive,
    "percentile": _percentile,
    "zscore": _zscore,
}
"""Threshold → how to clip; each optimiser gets one of its own."""
