"""Follows an unmodified training up to its first backward pass, and takes what is needed to inspect its network."""

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._pytree import tree_map

from isometry.adapters.torch import process
from isometry.adapters.torch.calls import Call, calls_behind, chosen, copied, cotangents, learns, note, without_graph
from isometry.adapters.torch.entrances import HOOKS_AND_COMPILER
from isometry.adapters.torch.loss import describe_loss
from isometry.adapters.torch.recording import tensors_in

__all__ = ["Captured", "TorchCapture", "capturing"]

STEPS_WITHOUT_MODEL = 100
"""Optimiser steps, none of whose gradients came from a module's call, after which a script is not followed further."""


LEAVINGS = 5
"""So often a script is left by an exception; one that cleans up with its model meets a few of them on its way out."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One training step up to its backward pass, which has not been run."""

    model: nn.Module
    """A copy of it as it was then; the model itself where it cannot be copied."""
    args: tuple[Any, ...]
    """What it was called with; nothing in here carries a graph."""
    kwargs: dict[str, Any]
    cotangents: list[Tensor | None]
    """∂L/∂output for each tensor of the output, without the factor of a gradient scaler. None where the loss does not
    use it, or only what another one was computed from, so that nothing is counted twice."""
    loss: float
    loss_kind: dict[str, Any]
    """As ``describe_loss`` has it."""
    others: tuple[str, ...] = ()
    """Other models that were called."""
    notes: tuple[str, ...] = ()
    """What was left out, one sentence each."""


@dataclass  # slots would be shared by all threads
class _Open(threading.local):
    """Modules whose forward pass is under way in this thread, outermost first."""

    modules: list[nn.Module] = field(default_factory=list)


def capturing() -> "TorchCapture":
    """Follow this process until the first training step of any model in it."""
    return TorchCapture()


class TorchCapture:
    """A training that is being followed. Once it has what it wants, it leaves the script as ``sys.exit()`` does.

    That is the one exception which ``except Exception``, threads and event loops all let pass in silence. A script may
    still swallow it, so it is raised anew wherever the training is met again; not for ever, if ``swallowed`` is set.
    """

    def __init__(self) -> None:
        self.captured: Captured | None = None
        self.trouble: str | None = None
        """Why nothing was captured although a step was met."""
        self.swallowed: Callable[[], None] | None = None
        self._leavings = 0
        self._process = os.getpid()
        self._open = _Open()
        self._numbers = count()
        self._names: dict[int, tuple[nn.Module, str]] = {}
        self._scale: Tensor | None = None
        self._steps = 0
        self._busy = False
        self._closed = False
        warnings.filterwarnings("ignore", message=HOOKS_AND_COMPILER, category=UserWarning)
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]
        process.open_listener(self)

    @property
    def is_reached(self) -> bool:
        """The script is not needed any more."""
        return self.captured is not None or self.trouble is not None

    def close(self, ending: str = "finished") -> None:
        """Take every hook off; may be called again."""
        if not self._closed and os.getpid() == self._process:
            self._closed = True
            process.close_listener(self)
            for hook in self._hooks:
                hook.remove()
                _global_forward_hooks_with_kwargs.pop(hook.id, None)  # torch 2.13 forgets to: it would warn compilers
            self._names.clear()

    @property
    def _off(self) -> bool:
        return self._busy or self._closed or os.getpid() != self._process

    def _leave_script(self) -> None:
        if not self.is_reached:
            return
        self._leavings += 1
        if self._leavings > LEAVINGS and self.swallowed is not None:
            self.close()
            self.swallowed()
        raise SystemExit(0)

    @contextlib.contextmanager
    def _noting_faults(self) -> Iterator[None]:
        """What we do ourselves in here is none of the script's doing, and a fault of ours ends the script as well."""
        self._busy = True
        try:
            yield
        except Exception as fault:  # noqa: BLE001  rather no check than a training in full that nobody asked for
            self.trouble = f"the first step could not be followed: {type(fault).__name__}: {fault}"
        finally:
            self._busy = False

    # ------------------------------------------------------------ forward pass

    def _enter(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling() or self._off:
            return
        self._leave_script()
        self._open.modules.append(module)

    def _leave(self, module: nn.Module, *called: Any) -> None:
        """After a forward pass. If it raised, torch leaves its keyword arguments out."""
        if torch.compiler.is_compiling() or self._off:
            return
        modules = self._open.modules
        while modules and modules.pop() is not module:  # those that something else than an Exception ended
            pass
        if modules or len(called) < 3 or not torch.is_grad_enabled():
            return
        with self._noting_faults():
            if any(parameter.requires_grad for parameter in module.parameters()):
                self._note(process.unwrapped(module), *called)
        self._leave_script()

    def _note(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if id(module) not in self._names:
            self._names[id(module)] = (module, process.find_name(module))
        tensors = tensors_in(output)
        note(Call(next(self._numbers), module, args, kwargs, tuple(tensor.shape for tensor in tensors)), tensors)

    # ----------------------------------------------------------- backward pass

    def backward_begins(self, roots: list[Tensor], targets: list[Any] | None) -> None:
        """A backward pass is about to start; if a model learns from it, this is as far as the script goes."""
        if self._off:
            return
        self._leave_script()
        with self._noting_faults():
            self.captured = self._capture(roots, targets)
        self._leave_script()

    def _capture(self, roots: list[Tensor], targets: list[Any] | None) -> Captured | None:
        roots = [root for root in roots if isinstance(root, Tensor) and root.grad_fn is not None]
        calls = calls_behind(roots)
        if not calls or (targets is not None and not learns(calls, targets)):
            return None
        call, outputs, notes = chosen(calls)
        loss = sum(float(root.detach().sum()) for root in roots)
        scale = float(self._scale) if self._scale is not None else 1.0
        if any(root.numel() != 1 for root in roots):
            notes.append("The loss is several numbers at once; their sum is followed.")
        kind = describe_loss(roots[0])  # before the graph is used up
        parts = {id(part) for part in call.module.modules()}
        return Captured(
            model=copied(call.module),
            args=tree_map(without_graph, call.args),
            kwargs=tree_map(without_graph, call.kwargs),
            cotangents=cotangents(roots, outputs, len(call.shapes), scale),
            loss=loss / scale,
            loss_kind=kind,
            others=tuple(dict.fromkeys(name for module, name in self._names.values() if id(module) not in parts)),
            notes=tuple(notes),
        )

    def backward_ended(self, targets: list[Any] | None, gradients: Any) -> None:
        """It was none that a model learns from."""

    def loss_scaled(self, scale: Tensor) -> None:
        """A gradient scaler multiplied a loss by ``scale``."""
        self._scale = scale

    # -------------------------------------------------------------- optimisers

    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """An optimiser is about to step, so no backward pass before was worth stopping at."""
        if self._off:
            return
        self._leave_script()
        self._steps += 1
        if self._steps > STEPS_WITHOUT_MODEL:
            self.trouble = (
                f"{STEPS_WITHOUT_MODEL} steps of an optimizer were seen, and none followed a backward pass through a "
                "torch.nn.Module that was called. Let the training call the module itself: model(x)"
            )
            self._leave_script()

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """It has stepped."""

    def step_skipped(self, optimizer: Any) -> None:
        """A gradient scaler left a step out: a backward pass was let through before."""

    def recomputation(self) -> AbstractContextManager[object]:
        """Of a checkpoint, in a backward pass that is let through."""
        return nullcontext()
