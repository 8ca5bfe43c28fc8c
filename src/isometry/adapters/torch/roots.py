"""Hooks on the user's root modules, and which of their forward passes can be followed."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["Hook", "is_compiled", "is_followable"]


class Hook:
    """A hook on the user's module that stays behind when the module is copied or pickled.

    Hooks live in the module's ``__dict__``, so they go with every copy. A copy gets a callable of the standard library
    that takes anything and returns None; it needs no isometry to be loaded again.
    """

    def __init__(self, action: Callable[..., None]) -> None:
        self.action = action

    def __call__(self, *arguments: Any) -> None:
        self.action(*arguments)

    def __reduce__(self) -> Any:
        return (getattr, (contextlib.nullcontext(), "__exit__"))

    def __deepcopy__(self, memo: Any) -> Any:
        return contextlib.nullcontext().__exit__


def is_compiled(module: nn.Module) -> bool:
    """Whether hooks on it would be compiled, or ignored."""
    return (
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or isinstance(module, torch.jit.ScriptModule)
    )


def is_followable() -> bool:
    """Whether this forward pass belongs to a training and can be followed."""
    return (
        torch.is_grad_enabled()
        and not torch._C._get_tracing_state()
        and not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing())
        and torch._C._functorch.peek_interpreter_stack() is None
    )
