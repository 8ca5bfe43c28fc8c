"""Carries out a whole plan on a model and an optimiser that are in the user's hands, and takes it back."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from isometry.adapters.torch.batch import call_of
from isometry.adapters.torch.edit import edit
from isometry.adapters.torch.joining import join, trained, untrained_before
from isometry.adapters.torch.loss_scale import loss_scale_of
from isometry.adapters.torch.parted import parted
from isometry.adapters.torch.precision import set_precision, widen_state
from isometry.adapters.torch.restructuring import Undo
from isometry.adapters.torch.retuning import retuned
from isometry.adapters.torch.scaled_passes import open_scaling
from isometry.adapters.torch.standardising import standardise
from isometry.adapters.torch.surrounding import AsBefore
from isometry.errors import CannotEdit, UnsupportedModel
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    Decay,
    Edit,
    InsertNorm,
    NetworkEdit,
    Reinitialise,
    ScaleLoss,
    ScaleRate,
    ScaleWeights,
    SetEpsilon,
    SetForgetBias,
    Unfreeze,
    WarmUp,
)

__all__ = ["Applied", "apply"]

OF_WEIGHTS = (Reinitialise, ScaleWeights, SetForgetBias)
"""Changes for which no forward pass has to be followed."""
KEEPING = (AddSkip, InsertNorm, Unfreeze, ScaleRate, WarmUp, Decay, ChangeOptimizer, SetEpsilon, Clip, ScaleLoss)
"""Changes after which a network can compute what it did before."""
CALLER = 3
"""Whose line a warning names: that of the user, who has called ``isometry.apply``."""
SAMPLES, STEPS = 8, 6
"""Size of a batch that is made up, and length of its sequences."""
SIDES = (32, 28, 8, 64, 224)
"""Of images that are made up; the first that fits is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class _Mark:
    """Of a plan that was applied to a model and not undone. It holds no model alive."""

    edits: tuple[Edit, ...]


_stacks: "WeakKeyDictionary[nn.Module, list[_Mark]]" = WeakKeyDictionary()
"""The marks of a model, in order."""


class Applied:
    """A plan that was carried out; ``apply`` makes it."""

    def __init__(
        self,
        parameters: tuple[str, ...],
        left_out: tuple[str, ...],
        undo: Undo,
        *,
        edits: Sequence[Edit] = (),
        checks: Undo = (),  # type: ignore[assignment]
        stack: list[_Mark] | None = None,
    ) -> None:
        self.parameters = parameters
        """Names of the parameters that came with it. The optimiser trains them, if one was given."""
        self.left_out = left_out
        """What was not possible for single layers, one sentence each."""
        self._undo, self._checks, self._stack = undo, checks, stack if stack is not None else []
        self._mark = _Mark(tuple(edits))
        self._stack.append(self._mark)

    def undo(self) -> None:
        """Take it back; may be called again.

        Modules and the optimiser are what they were before, and rates are changed back by the same factor. Weights that
        were drawn or scaled get the values that they had then; all others keep what they have learned since.

        Raises:
            CannotEdit: something else was applied to the model since, or a schedule was made for the optimiser. Undo
                the former first; before the latter it would have had to be undone.
        """
        if not self._undo:
            return
        if self._stack[-1] is not self._mark:
            raise CannotEdit("A later change of this model is still there. Undo that one first.")
        for check in self._checks:
            check()
        while self._undo:
            self._undo.pop()()
        self._stack.pop()

    def __repr__(self) -> str:
        told = [f"parameters={self.parameters}", *([f"left_out={self.left_out}"] if self.left_out else [])]
        return f"Applied({', '.join(told)})"


def apply(
    edits: Sequence[Edit],
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    batch: Any = None,
    dry_run: bool = False,
    seed: int = 0,
    keep: bool = False,
) -> Applied:
    """Carry out changes to a network and to its training, all of them or none."""
    if not isinstance(model, nn.Module):
        raise CannotEdit(f"model: a {type(model).__name__} was given; a torch.nn.Module is needed.")
    if keep:
        _require_keeping(edits)
    places = parted(edits)
    if places.tuning and optimizer is None:
        raise CannotEdit(
            f"{type(places.tuning[0]).__name__} changes the optimizer, and none was given: "
            "apply(plan, model, optimizer)."
        )
    if optimizer is not None:
        _require_fitting(optimizer, model, places.tuning)
    if not dry_run and any(mark.edits == tuple(edits) for mark in _stacks.get(model, ())):
        warnings.warn(
            f"This plan ({', '.join(dict.fromkeys(type(one).__name__ for one in edits))}) has been applied to this "
            f"{type(model).__name__} before and not undone: a rate that was lowered is lowered again. Call undo() on "
            "what apply gave the first time, if that is not meant.",
            stacklevel=CALLER,
        )
    if dry_run:
        model, optimizer = copy.deepcopy((model, optimizer))
    undo: Undo = []
    checks: Undo = []
    before, known = trained(model), {name for name, _ in model.named_parameters()}
    try:
        left_out = _change(model, places.network, batch, undo, seed=seed, keep=keep)
        if places.standardises:
            _standardise(model, batch, undo)
        if places.format is not None:
            if optimizer is not None:
                widen_state(optimizer, model, undo)
            set_precision(model, places.format, undo)
        newcomers = untrained_before(model, before)
        if optimizer is not None and (places.tuning or newcomers):
            as_before = _OptimizerAsBefore(optimizer)
            undo.append(as_before)
            join(optimizer, model, newcomers.values())
            retuned(optimizer, places.tuning)
            as_before.changed()
            scale = loss_scale_of(optimizer)
            if scale is not None and not dry_run and places.scales_loss:
                undo.append(open_scaling(optimizer, scale).close)
            checks.append(as_before.require_no_schedule)
    except BaseException:
        Applied((), (), undo).undo()
        raise
    names = tuple(name for name in newcomers if name not in known)
    if dry_run:
        return Applied(names, left_out, [])
    return Applied(names, left_out, undo, edits=edits, checks=checks, stack=_stacks.setdefault(model, []))


def _require_keeping(edits: Sequence[Edit]) -> None:
    unable = list(dict.fromkeys(type(one).__name__ for one in edits if not isinstance(one, KEEPING)))
    if unable:
        raise CannotEdit(
            f"keep=True: {' and '.join(unable)} cannot be carried out without changing what the network computes. "
            f"Apply the plan without keep, or give it without {'it' if len(unable) == 1 else 'them'}."
        )


def _require_fitting(optimizer: Any, model: nn.Module, tuning: Sequence[Edit]) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise CannotEdit(f"optimizer: a {type(optimizer).__name__} was given; a torch.optim.Optimizer is needed.")
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise CannotEdit(f"optimizer: it trains no parameter of this {type(model).__name__}. Give the one that does.")
    if any("initial_lr" in group for group in optimizer.param_groups) and any(
        isinstance(edit, ScaleRate) for edit in tuning
    ):
        raise CannotEdit(
            "A schedule was made for the optimizer, and it would put the old learning rate back. Apply the plan before "
            "the schedule is made."
        )


def _change(
    model: nn.Module, edits: Sequence[NetworkEdit], batch: Any, undo: Undo, *, seed: int, keep: bool
) -> tuple[str, ...]:
    if batch is not None or all(isinstance(edit, OF_WEIGHTS) for edit in edits):
        return edit(model, edits, batch=batch, seed=seed, undo=undo, keep=keep)
    for inputs in _made_up(model):
        try:
            return edit(model, edits, batch=inputs, seed=seed, undo=undo, keep=keep)
        except UnsupportedModel:  # it takes inputs of another shape
            continue
    raise CannotEdit(
        f"{type(model).__name__}: to change what stands between its layers a forward pass has to be followed, and its "
        "inputs cannot be guessed. Give a batch of training data: apply(plan, model, optimizer, batch=inputs)"
    )


def _standardise(model: nn.Module, batch: Any, undo: Undo) -> None:
    if batch is None:
        raise CannotEdit(
            "Standardise takes mean and deviation from inputs, and none were given: apply(plan, model, optimizer, "
            "batch=inputs), with all inputs of the training, or many."
        )
    call = call_of(model, batch, None)
    undo.append(AsBefore(model))
    standardise(model, [next(iter([*call.args, *call.kwargs.values()]), None)])


class _OptimizerAsBefore:
    """Makes an optimiser what it was: its kind, its step, its parameters, and rates by the factor that they changed by.

    Groups that were added since stay, and so does the state of parameters that it still trains. One that had become
    another kind of optimiser gets its old state back.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._kind, self._own = type(optimizer), dict(vars(optimizer))
        self._groups = [(group, {**group, "params": list(group["params"])}) for group in optimizer.param_groups]
        self._rates: list[float] = []
        self._step: Any = None

    def changed(self) -> None:
        """The change has been made: what differs from here on is none of its doing."""
        self._rates = [float(group["lr"]) for group, _ in self._groups]
        self._step = vars(self._optimizer).get("step")

    def require_no_schedule(self) -> None:
        if vars(self._optimizer).get("step") is not self._step:
            raise CannotEdit(
                "A schedule, or something else that replaces its step, was made for the optimizer since. It cannot be "
                "undone under that: make model and optimizer anew."
            )

    def __call__(self) -> None:
        optimizer = self._optimizer
        rates = [float(group["lr"]) for group, _ in self._groups]
        if type(optimizer) is not self._kind:
            optimizer.__class__ = self._kind
            groups = optimizer.param_groups
            vars(optimizer).clear()
            vars(optimizer).update(self._own)
            optimizer.param_groups = groups
        elif "step" in self._own:
            vars(optimizer)["step"] = self._own["step"]
        else:
            vars(optimizer).pop("step", None)
        for place, (group, before) in enumerate(self._groups):
            group.clear()
            group.update(before)
            if self._rates and self._rates[place] > 0:
                group["lr"] = before["lr"] * (rates[place] / self._rates[place])
        known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for parameter in [held for held in optimizer.state if id(held) not in known]:
            del optimizer.state[parameter]


# ------------------------------------------------------------------- a batch to look at


def _made_up(model: nn.Module) -> Iterator[Tensor]:
    """Inputs of the kinds that the first layer may take."""
    generator = torch.Generator().manual_seed(0)
    like = next(model.parameters(), torch.zeros(()))
    for shape, largest in _shapes(model):
        if largest:
            yield torch.randint(largest, shape, generator=generator).to(like.device)
        else:
            yield torch.randn(shape, generator=generator).to(like.device, like.dtype)


def _shapes(model: nn.Module) -> Iterator[tuple[tuple[int, ...], int]]:
    """Shapes that the first layer may take; for whole numbers with how many there are, else with 0."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            yield (SAMPLES, STEPS), module.num_embeddings
        elif isinstance(module, nn.Linear):
            side = round(module.in_features**0.5)
            yield (SAMPLES, module.in_features), 0
            yield (SAMPLES, STEPS, module.in_features), 0
            if side * side == module.in_features:
                yield (SAMPLES, 1, side, side), 0
        elif isinstance(module, nn.RNNBase):
            yield (SAMPLES, STEPS, module.input_size), 0
        elif isinstance(module, nn.modules.conv._ConvNd):
            yield from (((SAMPLES, module.in_channels, *[side] * len(module.kernel_size)), 0) for side in SIDES)
        else:
            continue
        return
