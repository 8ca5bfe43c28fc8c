"""What has to be noticed in the whole process: backward passes, loss scales, and models that nobody announced.

Each notice goes to every watch that is open; with the last one closed, torch is as it was.
"""

import functools
import gc
import sys
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.checkpoint import CheckpointFunction

__all__ = [
    "Listener",
    "close_listener",
    "find_name",
    "find_owner",
    "find_whole",
    "is_called_compiled",
    "is_unheard",
    "open_listener",
    "tell_skipped",
    "unheard",
    "unwrapped",
]


WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "OptimizedModule"})
"""Modules that call another one and are no part of the network."""


class Listener(Protocol):
    """What a watch wants to hear of."""

    def backward_begins(self, roots: list[Tensor], targets: list[Any] | None) -> None: ...
    def backward_ended(self, targets: list[Any] | None, gradients: Any) -> None: ...
    def loss_scaled(self, scale: Tensor) -> None: ...
    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None: ...
    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None: ...
    def step_skipped(self, optimizer: Any) -> None: ...
    def recomputation(self) -> AbstractContextManager[object]: ...


_listeners: list[Listener] = []
_originals: dict[str, Callable[..., Any]] = {}
_step_hooks: list[Any] = []
_registry = threading.Lock()
"""Held while torch is patched or restored: trainings may begin and end in several threads at once."""


class _Aside(threading.local):
    """What is known of this thread: whether what it does is our own work."""

    unheard = False
    steps = 0
    """Optimiser steps of this thread that began."""


_aside = _Aside()


@contextmanager
def unheard() -> Iterator[None]:
    """In here a model is called by ourselves, to look at it: no watch takes that for training."""
    before, _aside.unheard = _aside.unheard, True
    try:
        yield
    finally:
        _aside.unheard = before


def is_unheard() -> bool:
    """Whether the present pass of a model is none of the user's."""
    return _aside.unheard


def open_listener(listener: Listener) -> None:
    """Tell ``listener`` of everything from now on."""
    with _registry:
        if not _listeners:
            _patch()
        _listeners.append(listener)


def close_listener(listener: Listener) -> None:
    """Tell it nothing any more."""
    with _registry:
        if listener in _listeners:
            _listeners.remove(listener)
            if not _listeners:
                _restore()


def _patch() -> None:
    if not _step_hooks:
        _step_hooks.append(register_optimizer_step_pre_hook(_step_begins))
        _step_hooks.append(register_optimizer_step_post_hook(_step_ended))
    backward, grad = torch.autograd.backward, torch.autograd.grad
    scale, step = torch.amp.GradScaler.scale, torch.amp.GradScaler.step
    _originals.update(backward=backward, grad=grad, scale=scale, step=step)

    @functools.wraps(backward)
    def watched_backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        for listener in tuple(_listeners):
            listener.backward_begins(_listed(tensors), None)
        try:
            return backward(tensors, *args, **kwargs)
        finally:
            for listener in tuple(_listeners):
                listener.backward_ended(None, None)

    @functools.wraps(grad)
    def watched_grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        targets = _listed(inputs)
        for listener in tuple(_listeners):
            listener.backward_begins(_listed(outputs), targets)
        gradients = None
        try:
            gradients = grad(outputs, inputs, *args, **kwargs)
            return gradients
        finally:
            for listener in tuple(_listeners):
                listener.backward_ended(targets, gradients)

    @functools.wraps(scale)
    def watched_scale(scaler: Any, outputs: Any) -> Any:
        result = scale(scaler, outputs)
        if scaler.is_enabled():
            for listener in tuple(_listeners):
                listener.loss_scaled(scaler._scale)
        return result

    @functools.wraps(step)
    def watched_step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        before = _aside.steps
        result = step(scaler, optimizer, *args, **kwargs)
        if _aside.steps == before:
            tell_skipped(optimizer)
        return result

    recompute = CheckpointFunction.backward

    @functools.wraps(recompute)
    def watched_recompute(context: Any, *gradients: Any) -> Any:
        with ExitStack() as stack:
            for listener in tuple(_listeners):
                stack.enter_context(listener.recomputation())
            return recompute(context, *gradients)  # type: ignore[no-untyped-call]

    _originals["recompute"] = recompute
    CheckpointFunction.backward = staticmethod(watched_recompute)  # type: ignore[method-assign]
    torch.autograd.backward = watched_backward
    torch.autograd.grad = watched_grad
    torch.amp.GradScaler.scale = watched_scale  # type: ignore[method-assign, assignment]
    torch.amp.GradScaler.step = watched_step  # type: ignore[method-assign, assignment]


def _step_begins(optimizer: Any, args: Any, kwargs: Any) -> None:
    _aside.steps += 1
    for listener in tuple(_listeners):
        listener.step_begins(optimizer, args, kwargs)


def _step_ended(optimizer: Any, args: Any, kwargs: Any) -> None:
    for listener in tuple(_listeners):
        listener.step_ended(optimizer, args, kwargs)


def tell_skipped(optimizer: Any) -> None:
    """A step was left out, because a gradient that was scaled is not finite."""
    for listener in tuple(_listeners):
        listener.step_skipped(optimizer)


def _restore() -> None:
    # Torch walks these hooks in every step of every thread; to take one away meanwhile would raise there. Then it
    # stays, and has nobody to tell.
    if threading.active_count() == 1:
        while _step_hooks:
            _step_hooks.pop().remove()
    CheckpointFunction.backward = staticmethod(_originals.pop("recompute"))  # type: ignore[method-assign]
    torch.autograd.backward = _originals.pop("backward")
    torch.autograd.grad = _originals.pop("grad")
    torch.amp.GradScaler.scale = _originals.pop("scale")  # type: ignore[method-assign]
    torch.amp.GradScaler.step = _originals.pop("step")  # type: ignore[method-assign]


def _listed(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def find_whole(module: nn.Module) -> nn.Module:
    """The largest live module that holds ``module``: a script may call ``model.encoder`` and never ``model``."""
    best, most = module, 0
    for candidate in gc.get_objects():
        kind = type(candidate)  # isinstance would ask for __class__, which lazy objects answer with warnings
        if candidate is module or not issubclass(kind, nn.Module) or kind.__name__ in WRAPPERS:
            continue
        try:
            parts = list(candidate.modules())
        except Exception:  # noqa: BLE001  a half-built object of somebody else
            continue
        if len(parts) > most and any(part is module for part in parts):
            best, most = candidate, len(parts)
    return best


def is_called_compiled(modules: Container[int]) -> bool:
    """Whether one of these modules, given by ``id``, has a compiled form that is called in its stead."""
    return any(
        type(candidate).__name__ == "OptimizedModule" and id(candidate._modules.get("_orig_mod")) in modules
        for candidate in gc.get_objects()
    )


def find_owner(parameter: Tensor) -> nn.Module | None:
    """The live module that holds a parameter."""
    for candidate in gc.get_objects():
        if issubclass(type(candidate), nn.Module):
            held = candidate.__dict__.get("_parameters")
            if isinstance(held, dict) and any(value is parameter for value in held.values()):
                return find_whole(candidate)
    return None


def find_name(model: nn.Module) -> str:
    """The variable that holds the model in the user's code; the name of its class where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("isometry", "torch"):
            for space in (frame.f_locals, frame.f_globals):
                for name, value in list(space.items()):
                    if value is model and name not in ("self", "module") and not name.startswith("_"):
                        return str(name)
        frame = frame.f_back
    return type(model).__name__


def unwrapped(module: nn.Module) -> nn.Module:
    """The network itself, where it is called by way of ``torch.compile`` or a parallel wrapper."""
    while type(module).__name__ in WRAPPERS:
        module = getattr(module, "_orig_mod", None) or module.get_submodule("module")
    return module
