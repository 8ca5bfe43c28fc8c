"""The elementwise nonlinearities that are recognised in a forward pass, and their slopes φ′."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Nonlinearity", "nonlinearity_of_module", "recognise"]

INSENSITIVE = 1e-3
"""A unit whose slope stays below this part of the greatest slope passes nothing on: it counts as inactive."""

Slope = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Nonlinearity:
    """One nonlinearity with the parameters of this call."""

    name: str
    slope: Slope | None = None
    """φ′ from z and h = φ(z); None where it is not known."""
    from_output: bool = False
    """Whether ``slope`` needs h alone, so that an in-place φ may have overwritten z."""
    greatest_slope: float = 1.0
    alive_above: float | None = None
    """For rectifiers: a unit whose z never exceeds this has no slope worth the name. None for all others."""
    saturates: bool = False
    """Whether φ′ falls to 0 on both sides."""


def _sigmoid_like(z: Tensor, h: Tensor) -> Tensor:
    return h * (1 - h)


def _gelu(z: Tensor, h: Tensor) -> Tensor:
    density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(z / math.sqrt(2))) + z * density


def _gelu_tanh(z: Tensor, h: Tensor) -> Tensor:
    constant = math.sqrt(2 / math.pi)
    inner = torch.tanh(constant * (z + 0.044715 * z**3))
    return 0.5 * (1 + inner) + 0.5 * z * (1 - inner * inner) * constant * (1 + 3 * 0.044715 * z * z)


def _silu(z: Tensor, h: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate + z * gate * (1 - gate)


def _mish(z: Tensor, h: Tensor) -> Tensor:
    inner = torch.tanh(torch.nn.functional.softplus(z))
    return inner + z * torch.sigmoid(z) * (1 - inner * inner)


def _within(low: float, high: float, inside: float = 1.0) -> Slope:
    return lambda z, h: ((z > low) & (z < high)).to(z.dtype) * inside


def _leaky(negative: float) -> Slope:
    return lambda z, h: torch.where(z > 0, 1.0, negative).to(z.dtype)


def _exponential_tail(alpha: float, width: float = 1.0, scale: float = 1.0) -> Slope:
    """ELU and its relatives: 1 above zero, (α / width) exp(z / width) below, all times ``scale``."""
    return lambda z, h: scale * torch.where(z > 0, 1.0, alpha / width * torch.exp(z.clamp(max=0) / width)).to(z.dtype)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

FIXED: dict[str, Nonlinearity] = {
    "sigmoid": Nonlinearity("sigmoid", _sigmoid_like, True, 0.25, None, True),
    "tanh": Nonlinearity("tanh", lambda z, h: 1 - h * h, True, 1.0, None, True),
    "relu": Nonlinearity("relu", lambda z, h: (h > 0).to(h.dtype), True, 1.0, 0.0),
    "relu6": Nonlinearity("relu6", lambda z, h: ((h > 0) & (h < 6)).to(h.dtype), True, 1.0, 0.0),
    "softsign": Nonlinearity("softsign", lambda z, h: (1 - h.abs()).square(), True, 1.0, None, True),
    "erf": Nonlinearity(
        "erf", lambda z, h: 2 / math.sqrt(math.pi) * torch.exp(-z * z), False, 1.1283791670955126, None, True
    ),
    "silu": Nonlinearity("silu", _silu, False, 1.0998, -9.3),
    "mish": Nonlinearity("mish", _mish, False, 1.0886, -9.3),
    "selu": Nonlinearity(
        "selu", _exponential_tail(SELU_ALPHA, 1.0, SELU_SCALE), False, SELU_ALPHA * SELU_SCALE, math.log(INSENSITIVE)
    ),
    "hardsigmoid": Nonlinearity("hardsigmoid", _within(-3, 3, 1 / 6), False, 1 / 6, None, True),
    "hardswish": Nonlinearity(
        "hardswish",
        lambda z, h: torch.where(z >= 3, 1.0, torch.where(z <= -3, 0.0, z / 3 + 0.5)).to(z.dtype),
        False,
        1.5,
        -3.0,
    ),
    "logsigmoid": Nonlinearity("logsigmoid", lambda z, h: torch.sigmoid(-z), False, 1.0),
    "tanhshrink": Nonlinearity("tanhshrink", lambda z, h: torch.tanh(z).square(), False, 1.0),
    "exp": Nonlinearity("exponential", lambda z, h: h, True, math.inf),
    "sin": Nonlinearity("sin", lambda z, h: torch.cos(z), False, 1.0),
}

ALIASES = {
    "swish": "silu",
    "quick_gelu": "silu",
    "special_erf": "erf",
    "log_sigmoid": "logsigmoid",
    "special_expit": "sigmoid",
}


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str, default: float) -> float:
    value = args[position] if len(args) > position else kwargs.get(name, default)
    return float(value)


def recognise(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Nonlinearity | None:
    """The nonlinearity that a torch function of this name computes of its first argument.

    Args:
        name: the function's ``__name__``, a trailing underscore for in-place forms.
        args: its positional arguments, z first.
        kwargs: its keyword arguments.

    Returns:
        None for every other function.
    """
    name = name.rstrip("_")
    name = ALIASES.get(name, name)
    if name in FIXED:
        return FIXED[name]
    if name == "gelu":
        if kwargs.get("approximate", "none") == "tanh":
            return Nonlinearity("gelu_tanh", _gelu_tanh, False, 1.1290, -3.8)
        return Nonlinearity("gelu", _gelu, False, 1.1290, -3.8)
    if name == "leaky_relu":
        negative = _argument(args, kwargs, 1, "negative_slope", 0.01)
        return Nonlinearity("leaky_relu", _leaky(negative), False, max(1.0, abs(negative)))
    if name == "prelu":
        return Nonlinearity("prelu", lambda z, h: torch.where(z > 0, 1.0, torch.where(z == 0, 1.0, h / z)).to(z.dtype))
    if name in ("elu", "celu"):
        alpha = _argument(args, kwargs, 1, "alpha", 1.0)
        slope = _exponential_tail(alpha) if name == "elu" else _exponential_tail(alpha, alpha)
        return Nonlinearity(
            name, slope, False, max(1.0, alpha), math.log(INSENSITIVE) * (alpha if name == "celu" else 1)
        )
    if name == "softplus":
        beta = _argument(args, kwargs, 1, "beta", 1.0)
        return Nonlinearity("softplus", lambda z, h: torch.sigmoid(beta * z), False, 1.0, math.log(INSENSITIVE) / beta)
    if name == "hardtanh":
        low = _argument(args, kwargs, 1, "min_val", -1.0)
        high = _argument(args, kwargs, 2, "max_val", 1.0)
        if (low, high) == (0.0, 6.0):
            return FIXED["relu6"]
        return Nonlinearity("hardtanh", _within(low, high), False, 1.0, None, True)
    if name in ("clamp", "clamp_min", "threshold"):
        return _rectifier_by_hand(name, args, kwargs)
    return None


def _rectifier_by_hand(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Nonlinearity | None:
    """``x.clamp(min=0)`` and its spellings are ReLUs."""
    low = args[1] if len(args) > 1 else kwargs.get("min")
    high = args[2] if len(args) > 2 else kwargs.get("max")
    is_zero = isinstance(low, int | float) and low == 0
    if name in ("clamp", "clamp_min") and is_zero and high is None:
        return FIXED["relu"]
    if name == "threshold" and is_zero and high in (None, 0, 0.0):
        return FIXED["relu"]
    return None


def nonlinearity_of_module(type_name: str) -> Nonlinearity | None:
    """The nonlinearity that a module without parameters computes in several steps, told by its class's name.

    ``NewGELUActivation`` of transformers, somebody's own ``Swish``. Torch's own modules call one function each and
    are recognised by it.
    """
    lowered = type_name.lower()
    if "quickgelu" in lowered:
        return Nonlinearity("quick_gelu", lambda z, h: _silu(1.702 * z, h), False, 1.0998, -9.3 / 1.702)
    if "gelu" in lowered:
        return Nonlinearity("gelu_tanh", _gelu_tanh, False, 1.1290, -3.8)
    for word in ("silu", "swish"):
        if word in lowered and "hard" not in lowered:
            return FIXED["silu"]
    if "mish" in lowered:
        return FIXED["mish"]
    return None
