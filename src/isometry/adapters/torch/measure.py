"""Tensors reduced to one row of moments each, right from 1e-30 to 1e30.

Sums run in float64. On the CPU a row is a tuple of floats; elsewhere it stays a tensor on its device, so that a step
costs one copy to the host, however many layers there are.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isometry.network.signals import MOMENTS

__all__ = [
    "Row",
    "greatest_per_unit",
    "level",
    "magnitudes",
    "measurable",
    "rest",
    "row",
    "row_of_step_slope",
    "rows_to_host",
    "share",
    "spread",
]

Row = tuple[float, ...] | Tensor
"""The eight ``MOMENTS`` of one tensor."""

EMPTY: Row = (0.0, *[float("nan")] * 4, 0.0, 0.0, 0.0)

CENTRE_BELOW = 1e-6
"""Where the variance is a smaller part of the mean square than this, it is summed again about the mean.

One pass in float64 loses about log10(mean square / variance) of its 16 digits, hence at least 10 remain.
"""
BLOCK = 2**16
"""Elements that are converted to double precision at a time."""
_of_thread = threading.local()
SAFE_SQUARES = (1e-280, 1e280)
"""Sums of squares outside this range come from float64 data that must be scaled first."""


def measurable(tensor: object) -> bool:
    """Whether the elements of a tensor can be read: floating or complex, materialised, not quantised."""
    return (
        isinstance(tensor, Tensor)
        and (tensor.is_floating_point() or tensor.is_complex())
        and tensor.device.type != "meta"
        and not tensor.is_quantized
    )


def row(tensor: Tensor) -> Row:
    """The eight moments of a tensor, of any shape and floating dtype."""
    tensor = tensor.detach()
    if hasattr(tensor, "to_local"):  # a DTensor: this rank's shard
        tensor = tensor.to_local()
    if tensor.layout is torch.sparse_coo:
        return _row_of_sparse(tensor)
    tensor = _real(tensor)
    if tensor.numel() == 0:
        return EMPTY
    flat = tensor.reshape(-1)
    if tensor.device.type != "cpu":
        return _row_on_device(flat)
    return _row_on_cpu(flat)


def level(tensor: Tensor) -> Row:
    """Count and root mean square alone, the other moments unknown: a third of the time of a row.

    Where anything is not finite, one element is counted as NaN.
    """
    tensor = tensor.detach()
    if tensor.device.type != "cpu" or tensor.numel() == 0 or tensor.layout is not torch.strided:
        return row(tensor)
    values = _real(tensor)
    count = values.numel()
    rms = torch.linalg.vector_norm(values, dtype=torch.float64).item() / math.sqrt(count)
    lost = not math.isfinite(rms)
    return (float(count), math.nan, math.nan, rms, math.nan, 0.0, float(lost), 0.0)


def _row_on_cpu(flat: Tensor) -> Row:
    count = flat.numel()
    squares = total = 0.0
    nonzero = 0
    extremes: list[Tensor] = []
    for part, values in _in_double(flat):
        squares += torch.dot(values, values).item()
        total += values.sum().item()
        nonzero += int(np.count_nonzero(part.bool().numpy()))  # 6 to 17 times as fast as torch's own count
        extremes += torch.aminmax(part)
    if not SAFE_SQUARES[0] < squares < SAFE_SQUARES[1]:  # also where something is NaN
        return tuple(_row_on_device(flat).tolist())
    mean = total / count
    variance = squares / count - mean * mean
    if variance < CENTRE_BELOW * squares / count:
        variance = sum(torch.dot(centred := values - mean, centred).item() for _, values in _in_double(flat)) / count
    return (
        float(count),
        mean,
        max(variance, 0.0) ** 0.5,
        (squares / count) ** 0.5,
        max(abs(value.item()) for value in extremes),
        float(count - nonzero),
        0.0,
        0.0,
    )


def _in_double(flat: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces that fit the cache, each with its copy in double precision; the copy is overwritten by the next.

    Twice to three times as fast as one copy of the whole (one thread, 0.1 to 4 million elements).
    """
    buffer: Tensor | None = getattr(_of_thread, "buffer", None)
    if buffer is None:
        buffer = _of_thread.buffer = torch.empty(BLOCK, dtype=torch.float64, device="cpu")
    for part in flat.split(BLOCK):
        values = buffer[: part.numel()]
        values.copy_(part)
        yield part, values


def _row_on_device(flat: Tensor) -> Tensor:
    """The same without a branch that would wait for the device; non-finite elements are masked, not dropped."""
    wide = torch.float32 if flat.device.type == "mps" else torch.float64
    values = flat.to(wide)
    finite = torch.isfinite(values)
    nan = torch.isnan(values)
    count = finite.sum().to(wide)
    values = torch.where(finite, values, 0.0)
    abs_max = values.abs().max()
    scale = torch.where(abs_max > 0, abs_max, 1.0)
    scaled = values / scale
    mean = scaled.sum() / count
    centred = torch.where(finite, scaled - mean, 0.0)
    std = (centred.square().sum() / count).sqrt()
    rms = (scaled.square().sum() / count).sqrt()
    zeros = (finite & (values == 0)).sum().to(wide)
    total = torch.full_like(count, flat.numel())
    nans = nan.sum().to(wide)
    nothing = torch.where(count > 0, 0.0, float("nan"))
    return torch.stack(
        (
            total,
            mean * scale,
            std * scale,
            rms * scale,
            abs_max + nothing,
            zeros,
            nans,
            total - count - nans,
        )
    )


def _row_of_sparse(tensor: Tensor) -> Row:
    """A sparse gradient has the zeros that it does not store."""
    values = tensor.coalesce().values().reshape(-1)
    padded = torch.zeros(tensor.numel(), dtype=values.dtype, device=values.device)
    padded[: values.numel()] = values
    return row(padded)


def spread(tensor: Tensor) -> float | Tensor:
    """Root mean square, over all units, of the standard deviation between samples (the first dimension).

    It is the part of a signal that depends on the input; biases do not hide its collapse.

    Returns:
        NaN for fewer than two samples.
    """
    samples = tensor.shape[0] if tensor.dim() > 1 else 0
    if samples < 2 or tensor.numel() == 0:
        return float("nan")
    values = tensor.detach().reshape(samples, -1)
    values = values.to(torch.float32 if tensor.device.type == "mps" else torch.float64)
    mean = values.mean(0)
    if tensor.device.type == "cpu":
        flat = values.reshape(-1)
        squares = torch.dot(flat, flat).item()
        left = squares - samples * torch.dot(mean, mean).item()
        if left > CENTRE_BELOW * squares:
            return math.sqrt(left / values.numel())
        return float((values - mean).square_().mean().sqrt())
    return (values - mean).square_().mean().sqrt()


def rest(whole: Tensor, part: Tensor) -> tuple[float | Tensor, float | Tensor]:
    """How large whole − part is against part, and the cosine between the two; both tensors of one shape.

    Returns:
        ‖whole − part‖ / ‖part‖ and cos(whole − part, part). NaN where ``part`` is zero or either is not finite; a
        cosine of 0 where nothing is left.
    """
    whole, part = (_real(tensor.detach()).reshape(-1) for tensor in (whole, part))
    if part.device.type == "cpu":
        left = squares = product = 0.0
        for (piece, values), other in zip(_in_double(part), whole.split(BLOCK), strict=True):
            squares += torch.dot(values, values).item()
            difference = torch.sub(other.double(), piece)
            product += torch.dot(difference, values).item()
            left += torch.dot(difference, difference).item()
        if SAFE_SQUARES[0] < squares < SAFE_SQUARES[1] and left < SAFE_SQUARES[1]:
            return math.sqrt(left / squares), product / math.sqrt(left * squares) if left else 0.0
    gain, cosine = _rest_on_device(whole, part)
    return (gain.item(), cosine.item()) if gain.device.type == "cpu" else (gain, cosine)


def _rest_on_device(whole: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
    wide = torch.float32 if part.device.type == "mps" else torch.float64
    scale = part.abs().max().to(wide)
    known, difference = part.to(wide) / scale, (whole.to(wide) - part.to(wide)) / scale
    squares, left = known.square().sum(), difference.square().sum()
    gain = (left / squares).sqrt()
    cosine = torch.where(left > 0, (difference * known).sum() / (left * squares).sqrt(), 0.0)
    finite = torch.isfinite(gain)
    return torch.where(finite, gain, float("nan")), torch.where(finite, cosine, float("nan"))


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def row_of_step_slope(activation: Row) -> Row:
    """Moments of ReLU's slope, which is 1 where its output is not 0, from the moments of that output."""
    values = activation if isinstance(activation, Tensor) else np.asarray(activation)
    count, _, _, _, _, zeros, nan, _ = values
    active = (count - zeros - nan) / count
    nothing = 0.0 * count
    row = (
        count,
        active,
        (active * (1 - active)) ** 0.5,
        active**0.5,
        1.0 * (active > 0),
        zeros + nan,
        nothing,
        nothing,
    )
    return torch.stack(row) if isinstance(activation, Tensor) else tuple(float(value) for value in row)


def greatest_per_unit(tensor: Tensor, unit: int) -> Tensor:
    """Greatest value of every unit over all samples and positions. shape (units,)"""
    others = [dimension for dimension in range(tensor.dim()) if dimension != unit % tensor.dim()]
    values = tensor.detach()
    return values.amax(dim=others) if others else values


LARGEST_SAMPLE = 2**14
"""Elements of a tensor that go into a histogram; of larger ones every n-th does."""


EXPONENT_AT, EXPONENT_BIAS, NOT_FINITE = 52, 1023, 2047
"""Where the exponent of an IEEE double begins, what is added to it, and the one of NaN and infinities."""


def magnitudes(tensor: Tensor) -> dict[str, Any]:
    """Histogram of log2 |x|: bin i counts 2^(lowest+i) ≤ |x| < 2^(lowest+i+1); zeros, NaN and Inf apart."""
    values = tensor.detach().reshape(-1)
    stride = max(-(-values.numel() // LARGEST_SAMPLE), 1)
    sample = values[::stride].cpu().double().numpy()
    by_exponent = np.bincount((sample.view(np.int64) >> EXPONENT_AT) & NOT_FINITE, minlength=NOT_FINITE + 1)
    zeros = len(sample) - int(np.count_nonzero(sample))
    nan = int(np.isnan(sample).sum()) if by_exponent[NOT_FINITE] else 0
    subnormal = int(by_exponent[0]) - zeros
    if subnormal:  # of double precision itself: they have no exponent of their own
        exponents = np.frexp(sample[(sample != 0) & np.isfinite(sample)])[1] - 1
        lowest, counts = int(exponents.min()), np.bincount(exponents - exponents.min())
    else:
        filled = np.flatnonzero(by_exponent[1:NOT_FINITE]) + 1
        lowest = int(filled[0]) - EXPONENT_BIAS if len(filled) else 0
        counts = by_exponent[filled[0] : filled[-1] + 1] if len(filled) else filled
    return {
        "lowest": lowest,
        "counts": counts.tolist(),
        "zeros": zeros,
        "nan": nan,
        "inf": int(by_exponent[NOT_FINITE]) - nan,
        "stride": stride,
    }


def share(condition: Tensor) -> float | Tensor:
    """Share of true elements."""
    result = condition.sum() / max(condition.numel(), 1)
    return result.item() if condition.device.type == "cpu" else result


def rows_to_host(rows: Iterable[Row]) -> np.ndarray:
    """All rows of a step in one array; those on a device are copied together. shape (rows, 8)"""
    rows = list(rows)
    result = np.empty((len(rows), len(MOMENTS)))
    waiting: dict[torch.device, list[int]] = {}
    for position, entry in enumerate(rows):
        if isinstance(entry, Tensor):
            waiting.setdefault(entry.device, []).append(position)
        else:
            result[position] = entry
    for positions in waiting.values():
        stacked = torch.stack([rows[position] for position in positions])  # type: ignore[misc]
        result[positions] = stacked.double().cpu().numpy() if stacked.device.type != "mps" else stacked.cpu().numpy()
    return result
