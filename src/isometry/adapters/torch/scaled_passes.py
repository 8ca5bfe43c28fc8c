"""Scales the backward passes of a live training whose loop nobody can write into.

Nothing is kept on the parameters, the loss or the model: hooks are set when a pass begins and taken off when it ends.
Every leaf that the pass reaches gets its own gradient: parameters of other optimisers, late ones, inputs.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isometry.adapters.torch import process
from isometry.adapters.torch.leaves import Reach, reach_of
from isometry.adapters.torch.loss_scale import LossScale, are_finite, parameters_of
from isometry.errors import CannotEdit

__all__ = ["ScaledPasses", "closed_at_the_end", "open_scaling"]


def open_scaling(optimizer: Optimizer, scale: LossScale) -> "ScaledPasses":
    """Scale each backward pass to the parameters of an optimiser, until what is given is closed."""
    passes = ScaledPasses(optimizer, scale)
    process.open_listener(passes)
    if _opened.passes is not None:
        _opened.passes.append(passes)
    return passes


@contextmanager
def closed_at_the_end() -> Iterator[None]:
    """What this thread begins to scale in here is scaled no more afterwards."""
    before, _opened.passes = _opened.passes, []
    try:
        yield
    finally:
        for passes in _opened.passes:
            passes.close()
        _opened.passes = before


class _Opened(threading.local):
    """What this thread has begun to scale, where that is to be closed at an end; else None."""

    passes: "list[ScaledPasses] | None" = None


_opened = _Opened()


class _Begun(threading.local):
    """Passes that have begun in this thread, outermost first; None for one that is left as it is."""

    def __init__(self) -> None:
        self.passes: list[_Pass | None] = []


class _Outermost(threading.local):
    """What the pass that is about to run in this thread is scaled by already, for another optimiser."""

    factor: float | None = None


_outermost = _Outermost()
_running: "dict[int, tuple[ScaledPasses, float]]" = {}
"""Who scales the passes that are under way, and by what. Their numbers are autograd's: one knows them in any thread."""


class ScaledPasses:
    """Listens to backward passes, and scales those that reach a parameter of the optimiser.

    It holds the optimiser weakly, and goes with the first pass after that is gone.
    """

    def __init__(self, optimizer: Optimizer, scale: LossScale) -> None:
        self._optimizer = ref(optimizer)
        self._scale = scale
        self._begun = _Begun()
        self._others: dict[int, ref[Tensor]] = {}
        self._has_scaler = False

    def close(self) -> None:
        """Scale nothing any more."""
        process.close_listener(self)
        self._end_all()
        optimizer = self._optimizer()
        if optimizer is not None:
            self._scale.close(optimizer)

    # ---------------------------------------------------------------- backward passes

    def backward_begins(self, roots: list[Tensor], targets: list[Any] | None) -> None:
        """Set the hooks of a pass, where it is one of ours."""
        optimizer = self._optimizer()
        if optimizer is None:
            self.close()
            return
        outer = torch._C._current_graph_task_id()
        if outer < 0:
            self._end_all()  # of a pass that another listener has kept from running
        begun = self._begin(optimizer, reach_of(roots), outer) if targets is None else None
        self._begun.passes.append(begun)

    def backward_ended(self, targets: list[Any] | None, gradients: Any) -> None:
        """Take them off, whether it has raised or not."""
        if self._begun.passes:
            self._end(self._begun.passes.pop())

    def _begin(self, optimizer: Optimizer, reach: Reach, outer: int) -> "_Pass | None":
        held = {id(parameter) for parameter in parameters_of(optimizer)}
        if outer in _running:
            # A reentrant checkpoint: what comes in is scaled, and what goes out has to be. Only parameters end here.
            owner, factor = _running[outer]
            if owner is not self:
                return None
            leaves = [leaf for leaf in reach.leaves if isinstance(leaf, nn.Parameter) or id(leaf) in held]
            self._note_others(held, leaves)
            return _Pass(self, reach.roots, leaves, factor, is_inner=True)
        if held.isdisjoint(map(id, reach.leaves)):
            self._has_scaler = False
            return None
        if self._has_scaler:
            self._has_scaler = False
            raise CannotEdit(
                "ScaleLoss was applied, and the training scales its loss with a GradScaler as well. Undo the former."
            )
        if reach.is_tangled or _outermost.factor is not None:
            self._scale.used = 1.0 if _outermost.factor is None else _outermost.factor
            return None
        self._note_others(held, reach.leaves)
        self._scale.used = factor = self._scale.value
        if outer < 0:
            _outermost.factor = factor
        return _Pass(self, reach.roots, reach.leaves, factor)

    def _end(self, begun: "_Pass | None") -> None:
        if begun is not None:
            begun.end()
            if not self._begun.passes:
                _outermost.factor = None

    def _end_all(self) -> None:
        while self._begun.passes:
            self._end(self._begun.passes.pop())

    # ---------------------------------------------------------------- other optimisers

    def _note_others(self, held: set[int], leaves: Sequence[Tensor]) -> None:
        """Leaves that this optimiser does not step on; another one might."""
        self._others = {key: found for key, found in self._others.items() if found() is not None}
        self._others |= {id(leaf): ref(leaf) for leaf in leaves if id(leaf) not in held}

    def _of_others(self, optimizer: Any) -> list[Tensor]:
        """Parameters of another optimiser that passes of ours have reached since its last step."""
        if not self._others or optimizer is self._optimizer():
            return []
        return [one for one in parameters_of(optimizer) if (found := self._others.get(id(one))) and found() is one]

    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Another optimiser steps on gradients that we may have made infinite: then it finds none."""
        reached = self._of_others(optimizer)
        if reached and not are_finite(reached):
            self._scale.back_off()
            for parameter in parameters_of(optimizer):
                parameter.grad = None

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """It has stepped."""
        for parameter in self._of_others(optimizer):
            del self._others[id(parameter)]

    # ---------------------------------------------------------------- what else is listened to

    def loss_scaled(self, scale: Tensor) -> None:
        """A GradScaler is at work. Whether on a loss of ours is known when the next pass begins."""
        self._has_scaler = True

    def step_skipped(self, optimizer: Any) -> None:
        """Nothing is done then."""

    def recomputation(self) -> AbstractContextManager[object]:
        """Nothing is done then."""
        return nullcontext()


class _Pass:
    """The hooks of one backward pass.

    They act in that pass alone, told by the number that autograd gives it: ``torch.autograd.grad`` inside of it may
    come by the same tensors.
    """

    def __init__(
        self,
        owner: ScaledPasses,
        roots: Sequence[Tensor],
        leaves: Sequence[Tensor],
        factor: float,
        *,
        is_inner: bool = False,
    ) -> None:
        self._owner, self._factor, self._is_inner = owner, factor, is_inner
        self._task: int | None = None
        self._leaves = leaves
        self._hooks = [root.register_hook(self._begins) for root in roots]
        for leaf in leaves:
            earlier = leaf._backward_hooks or {}
            others = {key: earlier.pop(key) for key in list(earlier)}  # the user's own: they come after ours
            self._hooks.append(leaf.register_hook(self._arrives))
            leaf._backward_hooks.update(others)  # type: ignore[union-attr]

    def end(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()
        for leaf in self._leaves:
            if not leaf._backward_hooks:
                leaf._backward_hooks = None
        self._leaves = ()
        if self._task is not None:
            _running.pop(self._task, None)

    def _begins(self, gradient: Tensor) -> Tensor | None:
        if self._task is None:
            self._task = torch._C._current_graph_task_id()
            _running[self._task] = self._owner, self._factor
        return None if self._is_inner else gradient * self._factor

    def _arrives(self, gradient: Tensor) -> Tensor | None:
        return gradient / self._factor if torch._C._current_graph_task_id() == self._task else None
