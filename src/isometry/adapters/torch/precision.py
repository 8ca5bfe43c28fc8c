"""Lets a model keep its weights in float32 and compute in a format of one's choice."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from isometry.adapters.torch.restructuring import Undo
from isometry.adapters.torch.rounding import HALF
from isometry.adapters.torch.surrounding import AsBefore, Surrounding
from isometry.errors import CannotEdit

__all__ = ["FORMATS", "set_precision", "widen_state"]

FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def set_precision(model: nn.Module, name: str, undo: Undo | None = None) -> None:
    """Hold all weights in float32, and compute in a format of ``FORMATS``, in place.

    The forward pass runs under an autocast of its own, which overrides one that stands round it. Inputs in half
    precision are widened, and outputs are handed out in float32, so that the loss is computed in it too.

    Raises:
        CannotEdit: the weights are in double precision.
    """
    first = next((value for value in model.parameters() if value.is_floating_point()), None)
    if first is None or first.dtype == torch.float64:
        kind = "there are none" if first is None else "they are float64"
        raise CannotEdit(f"{type(model).__name__}: weights in float32 or half precision are needed; {kind}.")
    if undo is not None:
        undo.append(AsBefore(model))
    _widen(model, undo)
    vars(model)["forward"] = _Computing(model, name)


def widen_state(optimizer: torch.optim.Optimizer, model: nn.Module, undo: Undo) -> None:
    """What an optimiser has learned of weights that are in half precision, in float32; before those are.

    Taken back, what it has learned since gets the format of the weights, by the rule of ``Optimizer.load_state_dict``.
    """
    for parameter in model.parameters():
        if parameter.dtype in HALF:
            state = optimizer.state.get(parameter, {})
            before = {key: value.dtype for key, value in state.items() if isinstance(value, Tensor)}
            state.update({key: state[key].float() for key, dtype in before.items() if dtype in HALF})
            undo.append(functools.partial(_narrow_state, optimizer, parameter, before))


def _narrow_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, before: dict[str, torch.dtype]) -> None:
    state = optimizer.state.get(parameter, {})
    for key, value in state.items():
        if isinstance(value, Tensor) and value.is_floating_point() and key != "step":
            state[key] = value.to(before.get(key, parameter.dtype))


def _widen(model: nn.Module, undo: Undo | None) -> None:
    for parameter in model.parameters():
        if parameter.dtype in HALF:
            narrow = parameter.dtype
            _cast(parameter, torch.float32)
            if undo is not None:
                undo.append(functools.partial(_cast, parameter, narrow))
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.dtype in HALF:
                module._buffers[name] = buffer.float()
                if undo is not None:
                    undo.append(functools.partial(_narrow, module._buffers, {name: buffer.dtype}))


def _narrow(tensors: dict[Any, Any], formats: dict[Any, torch.dtype]) -> None:
    tensors.update({key: tensors[key].to(dtype) for key, dtype in formats.items() if tensors.get(key) is not None})


def _cast(parameter: nn.Parameter, dtype: torch.dtype) -> None:
    """In place, so that optimisers go on holding it."""
    gradient, parameter.grad = parameter.grad, None
    parameter.data = parameter.data.to(dtype)
    parameter.grad = None if gradient is None else gradient.to(dtype)


class _Computing(Surrounding):
    """Stands as ``forward`` in a model."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__(module)
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        device = next(self.module.parameters()).device.type
        dtype = FORMATS[self.name]
        args, kwargs = tree_map(_widened, (args, kwargs))
        # Without a cache: that of an autocast round this one would hand out weights in its own format.
        with torch.autocast(device, dtype=_half(dtype), enabled=dtype in HALF, cache_enabled=False), _ruling(dtype):
            result = self.own(*args, **kwargs)
        return tree_map(_widened, result)


def _half(dtype: torch.dtype) -> torch.dtype:
    """What an autocast may be told even where it is off."""
    return dtype if dtype in HALF else torch.bfloat16


# Autocasts that stand inside a model's own forward pass ---------------------------------------------------------------


class _Ruled(threading.local):
    """The format that every autocast of this thread is to have; None outside of models with a format of their own."""

    dtype: torch.dtype | None = None


_ruled = _Ruled()
_lock = threading.Lock()
_open = 0
_theirs: Callable[[Any], Any] | None = None
_ours: Callable[[Any], Any] | None = None


@contextmanager
def _ruling(dtype: torch.dtype) -> Iterator[None]:
    """In here an autocast to half precision, wherever it is written, has this format; torch is itself outside."""
    before, _ruled.dtype = _ruled.dtype, dtype
    _override()
    try:
        yield
    finally:
        _ruled.dtype = before
        _restore()


def _override() -> None:
    global _open, _theirs, _ours
    with _lock:
        _open += 1
        if _open == 1:
            _theirs = torch.autocast.__enter__
            _ours = _overriding(_theirs)
            torch.autocast.__enter__ = _ours  # type: ignore[method-assign]


def _restore() -> None:
    global _open
    with _lock:
        _open -= 1
        if not _open and torch.autocast.__enter__ is _ours:  # else somebody else stands there, and calls ours
            torch.autocast.__enter__ = _theirs  # type: ignore[method-assign, assignment]


def _overriding(enter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(enter)
    def entered(autocast: Any) -> Any:
        dtype = _ruled.dtype
        if dtype is None or not autocast._enabled:
            return enter(autocast)
        own = autocast.fast_dtype
        autocast.fast_dtype, autocast._enabled = _half(dtype), dtype in HALF
        try:
            return enter(autocast)
        finally:
            autocast.fast_dtype, autocast._enabled = own, True

    return entered


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value
