"""Hooks on the user's root modules, and which of their forward passes can be followed."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isometry.errors import UnsupportedModel

__all__ = ["Hook", "compiled_part", "compiler_of", "is_followable", "is_transforming", "uncompiled"]


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


def compiler_of(module: nn.Module) -> str | None:
    """What has compiled a module, so that hooks on it would be compiled too, or ignored; None where nothing has."""
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript"
    in_place = getattr(module, "_compiled_call_impl", None)
    is_replaced = in_place is not None and in_place != module._call_impl  # as it was where compilation is switched off
    return "compiled" if is_replaced or hasattr(module, "_orig_mod") else None


def compiled_part(root: nn.Module) -> str | None:
    """Name of a module inside ``root`` that is compiled.

    Under a tracer it would be compiled once more, and round otherwise. TorchScript is not concerned: its insides are
    out of a tracer's sight.
    """
    parts = root.named_modules()
    return next((name for name, module in parts if name and compiler_of(module) == "compiled"), None)


def uncompiled(model: nn.Module) -> nn.Module:
    """The same network, none of its parts compiled any more.

    Raises:
        UnsupportedModel: it is in TorchScript, from which there is no way back.
    """
    for module in list(model.modules()):
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedModel(
                f"{module.original_name} is in TorchScript, and can be neither followed nor changed. Give the model as "
                "it was before torch.jit."
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            module._compiled_call_impl = None
        for name, child in list(module._modules.items()):
            original = getattr(child, "_orig_mod", None)
            if isinstance(original, nn.Module):
                module._modules[name] = original
    whole: nn.Module = getattr(model, "_orig_mod", model)
    return whole


def is_followable() -> bool:
    """Whether this forward pass belongs to a training and can be followed."""
    return (
        torch.is_grad_enabled()
        and not torch._C._get_tracing_state()
        and not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing())
        and not is_transforming()
    )


def is_transforming() -> bool:
    """Whether a ``torch.func`` transform is under way, whose tensors have no values to be measured."""
    return torch._C._functorch.peek_interpreter_stack() is not None
