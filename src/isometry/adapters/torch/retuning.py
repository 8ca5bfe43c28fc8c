"""Carries out changes to a training on an optimiser."""

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from isometry.adapters.torch.clipping import CLIPPED_BY
from isometry.adapters.torch.loss_scale import LossScale
from isometry.adapters.torch.precision import FORMATS
from isometry.errors import CannotEdit
from isometry.network.edits import (
    ChangeOptimizer,
    Clip,
    Decay,
    ScaleLoss,
    ScaleRate,
    SetEpsilon,
    SetPrecision,
    TrainingEdit,
    WarmUp,
)

__all__ = ["require_possible", "retuned"]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
}
HIGHEST_PERCENTILE = 100


def require_possible(edits: Iterable[TrainingEdit]) -> None:
    """Refuse what no optimiser can be told.

    Raises:
        CannotEdit: a name that does not exist, or a number that makes no sense.
    """
    for edit in edits:
        match edit:
            case ChangeOptimizer() if edit.name not in OPTIMIZERS:
                raise CannotEdit(f"optimizer: there is no {edit.name!r}. There are {', '.join(OPTIMIZERS)}.")
            case SetPrecision() if edit.format not in FORMATS:
                raise CannotEdit(f"format: there is no {edit.format!r}. There are {', '.join(FORMATS)}.")
            case Clip() if edit.by not in CLIPPED_BY:
                raise CannotEdit(f"by: there is no {edit.by!r}. There are {', '.join(CLIPPED_BY)}.")
            case Clip() if edit.by == "percentile" and edit.threshold > HIGHEST_PERCENTILE:
                raise CannotEdit(f"Clip: threshold = {edit.threshold:g}; a percentile up to 100 is needed.")
        sizes = {"factor": ScaleRate, "steps": WarmUp, "rate": ChangeOptimizer, "threshold": Clip, "value": SetEpsilon}
        for name, kind in (*sizes.items(), ("steps", Decay), ("factor", ScaleLoss)):
            if isinstance(edit, kind) and not 0 < getattr(edit, name) < float("inf"):
                raise CannotEdit(f"{kind.__name__}: {name} = {getattr(edit, name):g}; a number above 0 is needed.")


def retuned(optimizer: torch.optim.Optimizer, edits: Sequence[TrainingEdit]) -> torch.optim.Optimizer:
    """The optimiser itself, with the changes made in place: whoever holds it goes on with it.

    Rates are multiplied after the optimiser has been chosen, in whatever order the edits come. Schedules and clipping
    happen inside ``step``, before anything else that listens to it, so a watch hears the gradient as it is used; the
    learning rate that stands in the optimiser is the one that its warm-up ends with, and its decay begins with.

    Where another optimiser is asked for, the object becomes one: it keeps its groups of parameters and its hooks, and
    loses its settings and all that it has learned of the gradients.

    Raises:
        CannotEdit: the object cannot become another optimiser.
    """
    for edit in edits:
        if isinstance(edit, ChangeOptimizer):
            _become(optimizer, edit)
    for edit in edits:
        if isinstance(edit, ScaleRate):
            for group in optimizer.param_groups:
                group.update({name: group[name] * edit.factor for name in ("lr", "initial_lr") if name in group})
        elif isinstance(edit, SetEpsilon):
            _set_epsilon(optimizer, edit.value)
    for edit in edits:
        if isinstance(edit, WarmUp):
            _override_step(optimizer, _scheduled(functools.partial(_risen, edit.steps)))
        elif isinstance(edit, Decay):
            _override_step(optimizer, _scheduled(functools.partial(_left, edit.steps)))
        elif isinstance(edit, Clip):
            _override_step(optimizer, _clipped(edit))
    for edit in edits:
        if isinstance(edit, ScaleLoss):  # round all others: a step that is left out is none to clip or to warm up
            _override_step(optimizer, LossScale(optimizer, edit.factor).around)
    return optimizer


def _set_epsilon(optimizer: torch.optim.Optimizer, value: float) -> None:
    present = [group.get("eps") for group in optimizer.param_groups]
    if not all(isinstance(eps, float) for eps in present):
        raise CannotEdit(f"The {type(optimizer).__name__} has no ε of its own. Change the optimiser to Adam first.")
    for group in optimizer.param_groups:
        group["eps"] = value


def _become(optimizer: torch.optim.Optimizer, edit: ChangeOptimizer) -> None:
    """Make another optimiser out of one, with the same groups as far as their parameters go."""
    _require_plain(optimizer)
    own = vars(optimizer)
    groups = own["param_groups"]
    new = OPTIMIZERS[edit.name]([{"params": group["params"]} for group in groups], lr=edit.rate)
    try:
        optimizer.__class__ = type(new)
    except TypeError as reason:
        raise CannotEdit(
            f"The optimiser cannot become {type(new).__name__} in place ({reason}). Make one where the training "
            "makes its optimiser."
        ) from None
    for group, other in zip(groups, new.param_groups, strict=True):
        group.clear()
        group.update(other)
    kept = {name: value for name, value in own.items() if name.endswith("_hooks")} | {"param_groups": groups}
    own.clear()
    own.update(vars(new) | kept)


def _require_plain(optimizer: torch.optim.Optimizer) -> None:
    """Refuse one that is more than itself: it wraps another one, or its ``step`` has been overridden."""
    name = type(optimizer).__name__
    if "step" in vars(optimizer):
        raise CannotEdit(
            f"The {name} has a `step` of its own, from a scheduler or an earlier change, which would be lost. Change "
            "the optimiser before that."
        )
    inner = [value for value in vars(optimizer).values() if isinstance(value, torch.optim.Optimizer)]
    if "param_groups" not in vars(optimizer) or inner:
        raise CannotEdit(f"The {name} passes its steps on to another optimiser. Change that one.")


Step = Callable[..., Any]
Wrapper = Callable[[torch.optim.Optimizer, Step, Any], Any]
"""(optimiser, its step, closure or None) → what the step gives."""


def _override_step(optimizer: torch.optim.Optimizer, around: Wrapper) -> None:
    before = optimizer.step

    @functools.wraps(before)  # with the mark that a scheduler leaves on it
    def step(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        return around(self, before, closure)

    vars(optimizer)["step"] = types.MethodType(step, optimizer)  # a method: schedulers ask for its function


def _call(step: Step, closure: Any) -> Any:
    return step() if closure is None else step(closure)


def _risen(steps: int, before: int) -> float:
    return min((before + 1) / steps, 1.0)


def _left(steps: int, before: int) -> float:
    return max(1 - before / steps, 0.0)


def _scheduled(factor: Callable[[int], float]) -> Wrapper:
    """Steps at a part of the rate, which the number of steps before tells."""
    taken = 0

    def around(optimizer: torch.optim.Optimizer, step: Step, closure: Any) -> Any:
        nonlocal taken
        taken += 1
        with _rates_times(optimizer, factor(taken - 1)):
            return _call(step, closure)

    return around


@contextmanager
def _rates_times(optimizer: torch.optim.Optimizer, factor: float) -> Iterator[None]:
    rates = [group["lr"] for group in optimizer.param_groups]
    if factor != 1.0:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _clipped(edit: Clip) -> Wrapper:
    clipped = CLIPPED_BY[edit.by](edit.threshold)

    def around(optimizer: torch.optim.Optimizer, step: Step, closure: Any) -> Any:
        def clip() -> None:
            clipped([parameter for group in optimizer.param_groups for parameter in group["params"]])

        def clipped_closure() -> Any:
            with torch.enable_grad():
                loss = closure()
            clip()
            return loss

        if closure is not None:
            return step(clipped_closure)
        clip()
        return step()

    return around
