"""Where an operation has no finite value, or no finite slope, read off the operands that autograd keeps for it.

A table from the name of a node in the autograd graph to a question about its saved operands. What autograd does not
keep cannot be asked about: sums, differences and copies are not in the table.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from isometry.adapters.torch.measure import measurable

__all__ = ["fault_of", "operation", "saved", "slope_fault_of", "without_slope_somewhere"]

Question = Callable[[Any], str | None]

MEAN = 1
"""``reduction="mean"`` as the loss functions keep it; see ``at::Reduction``."""
HIDDEN = "; masked (as by torch.where) it does not show in the loss, but its way back is 0 × ∞"


def fault_of(node: Any) -> str | None:
    """Why a node's result is not finite although its operands are: ``logarithm of zero (3 of 64 values)``.

    None where it is finite, where the operands themselves are at fault, and where that cannot be known.
    """
    question = _VALUES.get(node.name())
    return None if question is None else question(node)


def slope_fault_of(node: Any) -> str | None:
    """Why the gradient that a node sends on is not finite although its result is, or is masked further on."""
    fault = fault_of(node) if node.name() in _MASKABLE else None
    if fault is not None:
        return fault + HIDDEN
    question = _SLOPES.get(node.name())
    return None if question is None else question(node)


def operation(node: Any) -> str:
    """Name of the operation whose gradient a node computes: ``log`` for ``LogBackward0``, ``mse_loss``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.sub(r"Backward\d*$", "", node.name())).lower()


def without_slope_somewhere(nodes: Iterable[Any]) -> list[str]:
    """Operations among the nodes that may send back NaN although their result was finite, whatever their operands were.

    For when the operands are lost: a root, a power below 1, and, where results are masked, whatever may be masked.
    """
    nodes = list(nodes)
    masked = any(node.name().startswith(_MASKS) for node in nodes)
    found: dict[str, None] = {}
    for node in nodes:
        steep = node.name() in _SLOPES and (node.name() != "PowBackward0" or 0 < _exponent(node) < 1)
        if steep or (masked and node.name() in _MASKABLE):
            found[operation(node)] = None
    return list(found)


def _exponent(node: Any) -> float:
    exponent = getattr(node, "_saved_exponent", None)
    return float(exponent) if isinstance(exponent, int | float) else 1.0


def saved(node: Any, name: str) -> Tensor | None:
    """An operand or result that autograd has kept; None where it is no tensor, freed, or overwritten since."""
    try:
        value = getattr(node, f"_saved_{name}", None)
    except RuntimeError:
        return None
    return value if isinstance(value, Tensor) else None


def _floating(node: Any, name: str) -> Tensor | None:
    value = saved(node, name)
    dense = value is not None and measurable(value) and value.layout is torch.strided
    return value if value is not None and dense and value.is_floating_point() else None


def _told(words: str, where: Tensor) -> str | None:
    """The words with a count, if it happened anywhere."""
    count = int(where.sum())
    if not count:
        return None
    return f"{words} ({count:,} of {where.numel():,} values)" if where.numel() > 1 else words


def _first(*answers: str | None) -> str | None:
    return next((answer for answer in answers if answer is not None), None)


def _asks(name: str, *questions: tuple[str, Callable[[Tensor], Tensor]]) -> Question:
    """Ask in turn where one saved tensor has a property."""

    def ask(node: Any) -> str | None:
        value = _floating(node, name)
        return None if value is None else _first(*(_told(words, happens(value)) for words, happens in questions))

    return ask


def _quotient(node: Any) -> str | None:
    divisor = _floating(node, "other")
    return None if divisor is None else _told("division by zero", divisor == 0)


def _power(node: Any) -> str | None:
    """``x ** 2`` and its like, where the exponent is a number."""
    base, exponent = _floating(node, "self"), getattr(node, "_saved_exponent", None)
    if base is None or not isinstance(exponent, int | float):
        return None
    finite = torch.isfinite(base)
    lost = finite & ~torch.isfinite(base.pow(exponent))
    return _first(
        _told(f"zero to the power {exponent:g}", lost & (base == 0)),
        _told(f"negative number to the power {exponent:g}", lost & (base < 0) & (float(exponent) % 1 != 0)),
        _told(f"power {exponent:g} that overflows", lost),
    )


def _power_of_tensors(node: Any) -> str | None:
    result = _floating(node, "result")
    if result is None:
        return None
    lost = ~torch.isfinite(result)
    for name in ("self", "exponent"):
        operand = _floating(node, name)
        lost = lost if operand is None else lost & torch.isfinite(operand)
    return _told("power without a finite value", lost)


def _product(node: Any) -> str | None:
    one, other = _floating(node, "self"), _floating(node, "other")
    if one is None or other is None:
        return None
    return _told("product that overflows", torch.isfinite(one) & torch.isfinite(other) & ~torch.isfinite(one * other))


def _square_of_error(node: Any) -> str | None:
    outputs, targets = _floating(node, "self"), _floating(node, "target")
    if outputs is None or targets is None:
        return None
    lost = torch.isfinite(outputs) & torch.isfinite(targets) & ~torch.isfinite((outputs - targets).square())
    return _first(_lost_target(node), _told("square of the error that overflows", lost))


def _lost_target(node: Any) -> str | None:
    outputs, targets = _floating(node, "self"), _floating(node, "target")
    if outputs is None or targets is None or not bool(torch.isfinite(outputs).all()):
        return None
    return _told("target that is not finite", ~torch.isfinite(targets))


def _product_with_log(node: Any) -> str | None:
    factor, argument = saved(node, "self"), _floating(node, "other")
    if argument is None:
        return None
    counts = torch.ones_like(argument, dtype=torch.bool) if factor is None else factor != 0
    return _first(
        _told("logarithm of zero", (argument == 0) & counts),
        _told("logarithm of a negative number", (argument < 0) & counts),
    )


def _logit(node: Any) -> str | None:
    value = _floating(node, "self")
    if value is None or isinstance(getattr(node, "_saved_eps", None), float):
        return None
    return _told("logit of 0 or 1", (value == 0) | (value == 1))


def _mean(node: Any) -> str | None:
    shape = getattr(node, "_saved_self_sym_sizes", ())
    return "mean of nothing (the selection is empty)" if 0 in shape else None


def _spread(node: Any) -> str | None:
    values = saved(node, "self")
    if values is None:
        return None
    among = getattr(node, "_saved_dim", None) or range(values.dim())
    count = math.prod(values.shape[axis] for axis in among)
    correction = getattr(node, "_saved_correction", None)
    correction = 1 if correction is None else correction
    return f"standard deviation or variance of {count} value{'s' * (count != 1)}" if count <= correction else None


def _class_loss(node: Any) -> str | None:
    total = saved(node, "total_weight")
    if total is None or getattr(node, "_saved_reduction", None) != MEAN or total.numel() != 1:
        return None
    return "mean over no targets (all are ignored)" if float(total) == 0 else None


def _slope_of_power(node: Any) -> str | None:
    base, exponent = _floating(node, "self"), _exponent(node)
    if base is None or exponent >= 1 or exponent == 0:
        return None
    lost = torch.isfinite(base) & torch.isinf(base.pow(exponent - 1))
    return _first(
        _told(f"power {exponent:g} of zero, where its slope is infinite", lost & (base == 0)),
        _told(f"power {exponent:g} of a number next to zero, where its slope overflows", lost),
    )


_LOGARITHM = _asks(
    "self",
    ("logarithm of zero", lambda value: value == 0),
    ("logarithm of a negative number", lambda value: value < 0),
)
_EXPONENTIAL = _asks("result", ("exponential that overflows", torch.isposinf))
_ARC = _asks("self", ("arc function beyond ±1", lambda value: value.abs() > 1))
_HYPERBOLIC = _asks(
    "self", ("exponential that overflows", lambda value: value.isfinite() & ~torch.isfinite(value.cosh()))
)

_VALUES: dict[str, Question] = {
    "LogBackward0": _LOGARITHM,
    "Log2Backward0": _LOGARITHM,
    "Log10Backward0": _LOGARITHM,
    "Log1PBackward0": _asks(
        "self",
        ("logarithm of zero", lambda value: value == -1),
        ("logarithm of a negative number", lambda value: value < -1),
    ),
    "XlogyBackward0": _product_with_log,
    "LogitBackward0": _logit,
    "DivBackward0": _quotient,
    "ReciprocalBackward0": _asks("result", ("division by zero", torch.isinf)),
    "RsqrtBackward0": _asks(
        "result", ("division by the root of zero", torch.isinf), ("square root of a negative number", torch.isnan)
    ),
    "SqrtBackward0": _asks("result", ("square root of a negative number", torch.isnan)),
    "PowBackward0": _power,
    "PowBackward1": _power_of_tensors,
    "PowBackward2": _power_of_tensors,
    "ExpBackward0": _EXPONENTIAL,
    "Exp2Backward0": _EXPONENTIAL,
    "Expm1Backward0": _EXPONENTIAL,
    "CoshBackward0": _HYPERBOLIC,
    "SinhBackward0": _HYPERBOLIC,
    "MulBackward0": _product,
    "MseLossBackward0": _square_of_error,
    "SmoothL1LossBackward0": _lost_target,
    "HuberLossBackward0": _lost_target,
    "BinaryCrossEntropyWithLogitsBackward0": _lost_target,
    "KlDivBackward0": _lost_target,
    "AcosBackward0": _ARC,
    "AsinBackward0": _ARC,
    "AtanhBackward0": _asks("self", ("artanh at or beyond ±1", lambda value: value.abs() >= 1)),
    "MeanBackward0": _mean,
    "MeanBackward1": _mean,
    "StdBackward0": _spread,
    "VarBackward0": _spread,
    "NllLossBackward0": _class_loss,
    "NllLoss2DBackward0": _class_loss,
    "SoftmaxBackward0": _asks("result", ("softmax of a row that is −∞ throughout, or not finite", torch.isnan)),
}
"""By node: where its value is not finite."""

_ARC_SLOPE = _asks("self", ("arc function at ±1, where its slope is infinite", lambda value: value.abs() == 1))

_LOGARITHM_SLOPE = _asks(
    "self",
    (
        "logarithm of a number next to zero, where its slope overflows",
        lambda value: (value != 0) & torch.isinf(value.reciprocal()),
    ),
)

_SLOPES: dict[str, Question] = {
    "LogBackward0": _LOGARITHM_SLOPE,
    "Log2Backward0": _LOGARITHM_SLOPE,
    "Log10Backward0": _LOGARITHM_SLOPE,
    "SqrtBackward0": _asks("result", ("square root of zero, where its slope is infinite", lambda value: value == 0)),
    "PowBackward0": _slope_of_power,
    "AcosBackward0": _ARC_SLOPE,
    "AsinBackward0": _ARC_SLOPE,
}
"""By node: where its value is finite and its slope is not. No norms: torch takes their slope at 0 to be 0."""

_MASKS = ("Where", "MaskedFill", "MaskedSelect", "Index")
_MASKABLE = frozenset(
    f"{name}Backward0" for name in ("Log", "Log2", "Log10", "Log1P", "Div", "Reciprocal", "Rsqrt", "Exp", "Logit")
)
