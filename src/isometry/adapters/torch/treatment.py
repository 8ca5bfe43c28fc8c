"""Carries out changes in a training that knows nothing of them, while its script runs.

The network is changed when the script first calls it, before anything is computed; its optimiser before a schedule is
made for it or a step is taken. From then on the script trains the changed network as if it had been written like that.
"""

import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils._pytree import tree_map

from isometry.adapters.seeds import shifting
from isometry.adapters.torch import process
from isometry.adapters.torch.batch import Call
from isometry.adapters.torch.called_models import CalledModels, Likeness, Part, fitting, told_apart
from isometry.adapters.torch.edit import edit
from isometry.adapters.torch.joining import join, trained, untrained_before
from isometry.adapters.torch.loss_scale import loss_scale_of
from isometry.adapters.torch.optimisers import Rounds
from isometry.adapters.torch.parted import parted
from isometry.adapters.torch.precision import set_precision, widen_state
from isometry.adapters.torch.retuning import retuned
from isometry.adapters.torch.scaled_passes import ScaledPasses
from isometry.adapters.torch.standardising import standardise
from isometry.adapters.torch.trials import next_number
from isometry.errors import CannotEdit, IsometryError
from isometry.network.edits import Edit, NetworkEdit

__all__ = ["TorchTreatment", "treating"]

INPUTS_KEPT = 64 * 2**20
"""Inputs of the untreated training that are kept, to standardise by. [bytes]"""
ENDINGS = ("finished", "exception: SystemExit")
"""How a script ends that has done what it wanted, whatever its exit code."""
CHANGED = "_changed_by_isometry"
"""Attribute of a model that has been changed, which goes along when it is copied: a copy has the changes already."""


def treating(
    edits: Sequence[Edit],
    *,
    trial: int = 0,
    steps: int | None = None,
    seconds: float | None = None,
    inputs: Path | None = None,
) -> "TorchTreatment":
    """Change whatever this process trains, until it is closed.

    Args:
        edits: what to change; without any, a training is only ended in time.
        trial: its number; seeds that the script sets are shifted by it for good.
        steps: leave the script after so many optimiser steps, as ``sys.exit()`` does.
        seconds: leave it after the first step that ends so much later than the very first one.
        inputs: file with the inputs of the training. Without edits it is written, for ``Standardise`` it is read.
    """
    torch.manual_seed(trial)
    if trial:
        torch.manual_seed = torch.random.manual_seed = shifting(torch.manual_seed, trial)
    return TorchTreatment(edits, steps=steps, seconds=seconds, inputs=inputs)


class TorchTreatment:
    """Changes that wait for a model and an optimiser; ``treating`` makes it."""

    def __init__(self, edits: Sequence[Edit], *, steps: int | None, seconds: float | None, inputs: Path | None) -> None:
        places = parted(edits)
        self.trouble: str | None = None
        self.steps = 0
        self.cut = False
        self._tuning = places.tuning
        self._standardises = places.standardises
        self._format = places.format
        self._scales_loss = places.scales_loss
        self._passes: ScaledPasses | None = None
        self._scaled: weakref.ref[Optimizer] | None = None
        self._waiting = [*places.network]
        self._changes_models = bool(places.network) or places.goes_round
        self._models = CalledModels()
        self._made: dict[Likeness, list[NetworkEdit]] = {}
        self._changed: WeakSet[nn.Module] = WeakSet()
        self._reader: weakref.ref[nn.Module] | None = None
        """The first module that is called to be trained: it reads the inputs."""
        self._read_by: Likeness | None = None
        self._standardised: WeakSet[nn.Module] = WeakSet()
        self._computing: WeakSet[nn.Module] = WeakSet()
        self._most_steps, self._seconds = steps, seconds
        self._began: float | None = None
        self._file = inputs
        self._inputs: list[Tensor] = []
        self._room = INPUTS_KEPT if inputs is not None and not edits else 0
        self._process = os.getpid()
        self._open = threading.local()
        self._optimizers: list[weakref.ref[Optimizer]] = []
        self._fresh: WeakSet[Optimizer] = WeakSet()
        """Those that have not taken a step yet."""
        self._tuned: WeakSet[Optimizer] = WeakSet()
        self._newcomers: list[tuple[weakref.ref[nn.Module], list[Tensor]]] = []
        self._rounds = Rounds(0)
        self._has_tuned = False
        self._originals: list[tuple[type, str, Any]] = []
        self._closed = False
        self._attach()

    @property
    def is_reached(self) -> bool:
        """However the script ends now, it is our doing."""
        return self.trouble is not None or self.cut

    def close(self, ending: str = "finished") -> None:
        """Take every hook off; may be called again. What could not be changed is said in ``trouble``."""
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        self._detach()
        if self._inputs and self._file is not None:
            torch.save(self._inputs, self._file)
        if self.trouble is None and ending.startswith(ENDINGS):
            self.trouble = self._left_undone()

    def _left_undone(self) -> str | None:
        if self._waiting or self._is_unplaced_round:
            return self._unplaced()
        if self._tuning and not self._has_tuned:
            return "CannotEdit: no torch.optim.Optimizer was seen, so rate, clipping and optimiser stayed as they are."
        return None

    @property
    def _is_unplaced_round(self) -> bool:
        """Whether something was to be put round a model, and none was there."""
        missed = self._standardises and not self._standardised
        return missed or (self._format is not None and not self._computing)

    def _unplaced(self) -> str:
        names = [name for one in self._waiting for name in getattr(one, "layers", ())]
        what = f"`{'`, `'.join(dict.fromkeys(names))}`" if names else "The network"
        return f"CannotEdit: {what} was not among the models that the training called, so it could not be changed."

    # --------------------------------------------------------------- attaching

    def _attach(self) -> None:
        self._listen_to_calls()
        if self._tuning or self._changes_models:
            self._replace(Optimizer, "__init__", self._making)
            for scheduler in (LRScheduler, ReduceLROnPlateau):
                self._replace(scheduler, "__init__", self._scheduling)
        process.open_listener(self)

    def _listen_to_calls(self) -> None:
        if self._listens_to_calls and all(owner is not nn.Module for owner, _, _ in self._originals):
            self._replace(nn.Module, "__call__", self._calling)

    def _call_as_ever(self) -> None:
        if not self._listens_to_calls:
            self._restore(nn.Module)

    def _replace(self, owner: type, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        original = vars(owner)[name]
        self._originals.append((owner, name, original))
        setattr(owner, name, functools.wraps(original)(around(original)))

    def _detach(self) -> None:
        process.close_listener(self)
        for owner, _, _ in tuple(self._originals):
            self._restore(owner)

    def _restore(self, owner: type) -> None:
        for entry in [entry for entry in self._originals if entry[0] is owner]:
            setattr(*entry)
            self._originals.remove(entry)

    @property
    def _listens_to_calls(self) -> bool:
        """Afterwards modules are called as ever, at no cost, until another model is about to be trained."""
        unsettled = self._is_unplaced_round or (self._format is not None and self.steps == 0)
        return bool(self._waiting) or unsettled or self._room > 0 or bool(self._fresh)

    def _calling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._is_off or getattr(self._open, "call", False):
                return original(module, *args, **kwargs)
            self._open.call = True
            try:
                self._called(module, args, kwargs)
                return original(module, *args, **kwargs)
            finally:
                self._open.call = False

        return call

    def _making(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            self._optimizers.append(weakref.ref(optimizer))
            if self._changes_models and not self._is_off:
                self._fresh.add(optimizer)
                self._listen_to_calls()

        return init

    def _scheduling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(scheduler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            if isinstance(optimizer, Optimizer) and not self._is_off:
                with self._leaving_on_faults():
                    self._tune(optimizer)
            original(scheduler, optimizer, *args, **kwargs)

        return init

    @property
    def _is_off(self) -> bool:
        return self._closed or os.getpid() != self._process

    @contextmanager
    def _leaving_on_faults(self) -> Iterator[None]:
        """A change that cannot be made ends the script: without it, it would be another training."""
        self._leave_if_over()
        try:
            yield
        except IsometryError as fault:
            self.trouble = " ".join(f"{type(fault).__name__}: {fault}".split())
        except Exception as fault:  # noqa: BLE001  the user's forward pass may raise anything when it is followed
            self.trouble = " ".join(f"the change could not be made: {type(fault).__name__}: {fault}".split())
        self._leave_if_over()

    def _leave_if_over(self) -> None:
        if self.is_reached:
            raise SystemExit(0)

    # -------------------------------------------------------------- the network

    def _called(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A module was called by the script itself, or by a module that is no part of a network."""
        self._leave_if_over()
        module = process.unwrapped(module)
        if next(module.parameters(), None) is None:
            return
        learns = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in module.parameters())
        is_new = self._is_about_to_be_trained(module)
        with self._leaving_on_faults():
            if self._changes_models and (is_new or self.steps == 0):  # later ones are looked at: the best so far
                self._treat(module, args, kwargs, learns=learns, is_another=is_new and CHANGED not in vars(module))
        if self._room > 0 and learns:
            self._keep(module, args[0] if args else next(iter(kwargs.values()), None))
        self._call_as_ever()

    def _is_about_to_be_trained(self, module: nn.Module) -> bool:
        """Whether an optimiser holds it that has not taken a step: of the next fold of a cross-validation."""
        held = {id(value) for one in self._fresh for group in one.param_groups for value in group["params"]}
        return bool(held) and any(id(parameter) in held for parameter in module.parameters())

    def _treat(self, module: nn.Module, args: Any, kwargs: Any, *, learns: bool, is_another: bool) -> None:
        part = self._models.part(module, [name for one in self._waiting for name in one.layers])
        self._change(module, part, args, kwargs, is_another=is_another)
        if self._standardises and learns:
            self._standardise(module, part, is_another=is_another)
        if self._format is not None:
            self._compute(module)

    def _change(self, module: nn.Module, part: Part, args: Any, kwargs: Any, *, is_another: bool) -> None:
        """Make the changes that are meant for this module or its parts."""
        here, later = told_apart(part, self._waiting)
        if not here and is_another:
            here, later = told_apart(fitting(module, part, self._waiting), self._waiting)
        if not here:
            here = self._made.get(part.likeness, []) if is_another else []
        elif CHANGED in vars(module):  # a copy of one that has them
            self._waiting, here = later, []
        if not here or module in self._changed:
            return
        before = trained(module)
        with torch.inference_mode(False), torch.enable_grad():  # what is made here is to be trained
            args, kwargs = tree_map(_trainable, (args, kwargs))
            edit(module, here, batch=Call(args, kwargs), seed=next_number())
        self._waiting = later
        self._made.setdefault(part.likeness, here)
        self._changed.add(module)
        vars(module)[CHANGED] = True
        newcomers = [*untrained_before(module, before).values()]
        if newcomers:
            whole = process.find_whole(module)
            self._newcomers.append((weakref.ref(whole), newcomers))
            for optimizer in self._known_optimizers():
                join(optimizer, whole, newcomers)

    def _standardise(self, module: nn.Module, part: Part, *, is_another: bool) -> None:
        self._read_by = self._read_by or part.likeness
        if module in self._standardised or part.likeness != self._read_by or (self._standardised and not is_another):
            return
        if self._file is None or not self._file.is_file():
            raise CannotEdit("The inputs of the untreated training are not known, so there is nothing to scale by.")
        self._standardised.add(module)
        vars(module)[CHANGED] = True
        kept = torch.load(self._file, weights_only=True)
        device = next(module.parameters()).device
        with process.unheard():
            standardise(module, [inputs.to(device) for inputs in kept])

    def _compute(self, module: nn.Module) -> None:
        """Give a network that the script calls its number format; several are called before the first step."""
        assert self._format is not None
        if module in self._computing:
            return
        self._computing.add(module)
        for optimizer in self._known_optimizers():
            widen_state(optimizer, module, [])
        set_precision(module, self._format)

    def _keep(self, module: nn.Module, inputs: Any) -> None:
        self._reader = self._reader or weakref.ref(module)
        if self._reader() is not module or not module.training:
            return
        if isinstance(inputs, Tensor):
            self._inputs.append(inputs.detach().cpu().clone())
            self._room -= inputs.nbytes
        else:
            self._room = 0  # nothing that could be standardised

    # ------------------------------------------------------------ the optimiser

    def _known_optimizers(self) -> Iterator[Optimizer]:
        for reference in self._optimizers:
            optimizer = reference()
            if optimizer is not None:
                yield optimizer

    def _tune(self, optimizer: Optimizer) -> None:
        if optimizer in self._tuned:
            return
        self._tuned.add(optimizer)
        if self._tuning:
            retuned(optimizer, self._tuning)
            self._has_tuned = True
        for reference, newcomers in self._newcomers:
            model = reference()
            if model is not None:
                join(optimizer, model, newcomers)

    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """An optimiser is about to step: by now what it trains has been called, and changed."""
        if not self._is_off:
            self._fresh.discard(optimizer)
            self._call_as_ever()

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """It has stepped."""
        if self._is_off:
            return
        with self._leaving_on_faults():
            self._tune(optimizer)  # one that was made after the backward pass: its first step was as it is
        self._count(optimizer)

    def step_skipped(self, optimizer: Any) -> None:
        """A gradient scaler left a step out, which counts: a training of which all are left out ends as well."""
        if not self._is_off:
            self._fresh.discard(optimizer)
            self._count(optimizer)

    def _count(self, optimizer: Any) -> None:
        """Several optimisers that take turns take one step, as a watch counts them."""
        self._began = monotonic() if self._began is None else self._began
        self.steps += self._rounds.ends_round(id(optimizer))
        over = self._most_steps is not None and self.steps >= self._most_steps
        late = self._seconds is not None and monotonic() - self._began > self._seconds
        self.cut = self.cut or over or late
        self._leave_if_over()

    def backward_begins(self, roots: list[Tensor], targets: list[Any] | None) -> None:
        """An optimiser is changed before its step begins, and most are there by now."""
        if self._is_off:
            return
        with self._leaving_on_faults():
            for optimizer in self._known_optimizers():
                self._tune(optimizer)
            if self._scales_loss:
                self._scale(roots, targets)

    def _scale(self, roots: list[Tensor], targets: list[Any] | None) -> None:
        """Scale what goes back from a loss."""
        scaled = [one for one in self._known_optimizers() if loss_scale_of(one) is not None]
        if len(scaled) > 1 and targets is None:
            raise CannotEdit("ScaleLoss: several optimisers take turns, and one scale cannot follow them all.")
        known = self._scaled() if self._scaled is not None else None
        if known is None and scaled and (scale := loss_scale_of(scaled[0])) is not None:
            self._passes, self._scaled = ScaledPasses(scaled[0], scale), weakref.ref(scaled[0])
        if self._passes is not None:
            self._passes.backward_begins(roots, targets)

    def loss_scaled(self, scale: Tensor) -> None:
        """A gradient scaler of the script's own multiplied a loss."""
        if self._scales_loss and not self._is_off:
            with self._leaving_on_faults():
                raise CannotEdit("ScaleLoss: the training scales its loss already, with a GradScaler of its own.")

    def backward_ended(self, targets: list[Any] | None, gradients: Any) -> None:
        """It has ended, or raised."""
        if self._passes is not None:
            self._passes.backward_ended(targets, gradients)

    # ---------------------------------------------------- what is not listened to

    def recomputation(self) -> AbstractContextManager[object]:
        """Nothing is done then."""
        return nullcontext()


def _trainable(value: Any) -> Any:
    """A tensor of inference mode as one that a graph may hold."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
