"""Watches a PyTorch training from inside it, without changing or stopping it.

On most steps nothing runs here but an optimiser hook and two hooks of the root module. On a recorded step a
``Tracer`` follows the forward pass, tensor hooks hear the gradients, and the optimiser's hooks read gradients, weights
and updates. A fault of ours switches the watch off, says so once, and lets the training go on.
"""

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from isometry.adapters.torch import process
from isometry.adapters.torch.by_hand import ByHand
from isometry.adapters.torch.entrances import WITHOUT_SIGNALS, Entrances
from isometry.adapters.torch.ledger import Ledger
from isometry.adapters.torch.loss import describe_loss
from isometry.adapters.torch.loss_scale import gradient_scale
from isometry.adapters.torch.missing import missing_gradients
from isometry.adapters.torch.objective import Objective
from isometry.adapters.torch.optimisers import (
    Rounds,
    Stepper,
    at_rest,
    hyperparameters,
    keep_weights,
    measure_gradients,
    measure_updates,
)
from isometry.adapters.torch.origins import Origins
from isometry.adapters.torch.outbreak import Outbreak
from isometry.adapters.torch.recording import (
    Recording,
    tensors_in,
)
from isometry.adapters.torch.roots import compiled_part, is_followable, is_transforming
from isometry.adapters.torch.rounding import listen_at_casts
from isometry.adapters.torch.sites import Sites, models_by_prefix
from isometry.adapters.torch.trace import Tracer
from isometry.errors import IsometryError, NotRecorded, UnsupportedModel
from isometry.history.cadence import Cadence
from isometry.history.provenance import provenance as collect_provenance
from isometry.history.recorder import Recorder, fresh_folder
from isometry.history.run import Run
from isometry.history.store import open_run
from isometry.network.signals import Signal

__all__ = ["TorchWatch", "watch", "watch_process"]

Models = nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module]
Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None

DISTRIBUTIONS = frozenset({0, *range(3, 10), *(2**k for k in range(4, 20)), *(3 * 2**k for k in range(2, 20))})
"""Recordings, counted from 0, in which histograms are kept."""
SETTLED_AFTER = 3
"""Recorded steps after which a parameter without gradient is reported."""
IDLE_BACKWARDS = 64
"""Backward passes without any step of an announced optimiser after which it is taken to be forgotten."""
FUNCTIONS = ("torch.func", "torch.autograd.grad")
"""What takes gradients without a backward pass of the user's."""
UNSEEN_AFTER = 4
"""Recorded steps without a forward pass that could be followed, after which that is said."""


def watch(
    model: Models,
    optimizer: Optimizers = None,
    *,
    run: str | Path | None = None,
    budget: float = 0.01,
    every: int | None = None,
    signals: Sequence[str] | None = None,
) -> "TorchWatch":
    """Watch one model, or several given as a list or by name, until the watch is closed."""
    models = models_by_prefix(model)
    _all_are(nn.Module, models.values(), "model")
    optimizers = [] if optimizer is None else [optimizer] if not isinstance(optimizer, Sequence) else list(optimizer)
    _all_are(torch.optim.Optimizer, optimizers, "optimizer")
    return TorchWatch(models, optimizers, run=run, budget=budget, every=every, signals=signals)


def watch_process(
    *,
    run: str | Path,
    budget: float = 0.01,
    every: int | None = None,
    signals: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> "TorchWatch":
    """Watch whatever model this process trains: models are found when they are called."""
    return TorchWatch(None, [], run=run, budget=budget, every=every, signals=signals, provenance=provenance)


class TorchWatch:
    """A recording that is going on; ``watch`` makes it."""

    def __init__(
        self,
        models: dict[str, nn.Module] | None,
        optimizers: list[torch.optim.Optimizer],
        *,
        run: str | Path | None,
        budget: float,
        every: int | None,
        signals: Sequence[str] | None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self._cadence = Cadence(every, budget)
        self._signals = _chosen(signals)
        self._whole_process = models is None
        self._process = os.getpid()
        self._thread: int | None = None
        self._sites = Sites()
        for prefix, model in (models or {}).items():
            self._sites.add(model, prefix)
        self._tracer = Tracer(self._sites)
        self._origins = Origins() if models is None else None
        self._by_hand = ByHand(self._sites)
        self._rounds = Rounds(len(optimizers))
        self._steppers: dict[int, Stepper] = {}
        self._searched: set[int] = set()
        self._heard: set[int] = set()
        self._loss_known = False
        self._in_backward = 0
        self._backward_thread: int | None = None
        self._backwards = 0
        self._gradients: Counter[str] = Counter()
        """How often gradients were taken, by backward() and by functions that are not watched."""
        self._passes_open: list[bool] = []
        self._called_alone: dict[str, None] = {}
        """Layers that are called by no module that holds them, in the order of their calls."""
        self._tracing = False
        self._settled = 0
        self._step = 0
        self._seconds = 0.0
        self._seconds_before = 0.0
        self._last_boundary: float | None = None
        self._unseen = 0
        self._close_after_backward = False
        self._fault: str | None = None
        self._closed = False
        self._recording: Recording | None = None
        self._recorder = self._open_files(run, provenance)
        self._ledger = Ledger(self._recorder, self._sites)
        self._entrances = Entrances(
            self._sites,
            self._ledger,
            enter=self._enter,
            leave=self._leave,
            called=self._called,
            announced=models is not None,
            note=self._note,
        )
        self._objective = Objective(self._write_loss, self._alarm)
        self._outbreak = Outbreak(self._sites, self._ledger.event, self._alarm)
        if self._recorder is not None:
            with self._guard():
                self._attach(models)
                for optimizer in optimizers:
                    self._stepper(optimizer)

    # ------------------------------------------------------------ public face

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return self._folder

    @property
    def recorded_anything(self) -> bool:
        """False as long as no training step was seen."""
        return self._ledger.recorded > 0

    @property
    def why_unrecorded(self) -> str:
        """Why nothing was recorded, and what to do; empty where nothing was there to be recorded."""
        if self._fault is not None:
            return "watching stopped before the first training step ended."
        by_function = [(name, self._gradients[name]) for name in FUNCTIONS if self._gradients[name]]
        if by_function:
            name, times = max(by_function, key=lambda entry: entry[1])
            return (
                f"gradients were taken {times:,} times by {name}, of weights that are no parameters of a module that "
                "was called. Such gradients are not watched: put the weights into an nn.Module, call it, and call "
                "backward() on the loss."
            )
        if self._gradients["backward"]:
            return (
                f"{self._gradients['backward']:,} backward passes were made, but no step of an optimizer and no change "
                "of weights was seen in an nn.Module. Put the weights into one and call it."
            )
        return ""

    @property
    def run(self) -> Run:
        """What has been recorded so far, opened.

        Raises:
            NotRecorded: no training step has been seen, or the folder could not be written.
        """
        if self._recorder is None:
            raise NotRecorded(f"Nothing was recorded: {self._fault}. Choose another folder with run=… and train again.")
        if not self._closed:
            with contextlib.suppress(OSError):
                self._objective.flush()
                self._recorder.flush()
        if self._ledger.architecture is None:
            raise NotRecorded(
                f"{self._folder}: no training step was seen. A step needs a forward pass with gradients, a backward "
                "pass and an update of the weights, all while the watch is open."
            )
        return open_run(self._folder)

    def log(self, **metrics: float) -> None:
        """Keep named numbers of the present step, such as ``accuracy=0.93``."""
        with self._guard():
            for name, value in metrics.items():
                if not self._closed:
                    self._ledger.scalar(max(self._step - 1, 0), name, float(value))

    def note(self, kind: str, /, **facts: Any) -> None:
        """Keep an event of the present step that was found out elsewhere."""
        with self._guard():
            if not self._closed:
                self._ledger.event(kind, self._step, **facts)

    def close(self, ending: str = "finished") -> None:
        """Take every hook off and finish the files; may be called again."""
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        with self._guard():
            if self._fault is None and self._recorder is not None:
                self._finish(ending)
        self._detach()
        if self._recorder is not None:
            with contextlib.suppress(OSError):
                self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif issubclass(kind, KeyboardInterrupt):
            self.close("interrupted")
        else:
            self.close(f"exception: {kind.__name__}: {value}")

    def __reduce__(self) -> Any:
        return (contextlib.nullcontext, ())  # a model that is saved must not drag the watch along

    def __deepcopy__(self, memo: Any) -> "TorchWatch":
        return self

    # -------------------------------------------------------------- attaching

    def _open_files(self, run: str | Path | None, provenance: Mapping[str, Any] | None) -> Recorder | None:
        wanted = Path(run) if run is not None else Path("runs") / (Path(sys.argv[0]).stem or "run")
        self._folder = wanted.absolute()
        facts = {
            "framework": "torch",
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            **dict(provenance or {}),
        }
        try:
            self._folder = fresh_folder(self._folder)
            recorder = Recorder(self._folder, provenance=collect_provenance(**facts))
        except OSError as fault:
            self._tell(f"{self._folder} cannot be written ({fault.strerror or fault})")
            return None
        if run is not None and self._folder.name != wanted.name:
            print(f"isometry: {wanted} already keeps a run; this one goes to {self._folder}", file=sys.stderr)
        return recorder

    def _attach(self, models: dict[str, nn.Module] | None) -> None:
        process.open_listener(self)
        for model in (models or {}).values():
            self._entrances.stand_at(model)
        if models is None:
            self._entrances.search(True)
        if self._origins is not None:
            self._origins.attach()
            self._tracer.witness = self._origins.activation
        self._begin_recording()

    def _detach(self) -> None:
        self._entrances.leave_all()
        if self._origins is not None:
            self._origins.detach()
        process.close_listener(self)
        if not self._tracing:
            self._tracer.abandon()
        if self._recording is not None:
            self._recording.open = False
        self._by_hand.forget()

    # ------------------------------------------------------------------ faults

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Counts what watching costs, and keeps every fault of ours out of the user's training."""
        started = perf_counter()
        try:
            yield
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._failed(fault)
        self._seconds += perf_counter() - started

    def _failed(self, fault: Exception) -> None:
        """Say it once, stop watching. Hooks of a pass that is under way come off when it ends."""
        if self._fault is not None:
            return
        words = f"{type(fault).__name__}: {fault}"
        self._tell(words)
        with contextlib.suppress(Exception):
            self._ledger.event("trouble", self._step, words=f"Watching stopped: {words}")
            self._write_end("stopped watching")
        if not self._passes_open:
            self._detach()

    def _tell(self, words: str) -> None:
        self._fault = words
        with contextlib.suppress(Exception):
            print(
                f"isometry: watching stopped at step {self._step_number()}, training goes on. {words}", file=sys.stderr
            )

    def _step_number(self) -> int:
        return getattr(self, "_step", 0)

    def _note(self, words: str) -> None:
        self._ledger.note(self._step, words)

    @property
    def _off(self) -> bool:
        return self._closed or self._fault is not None or os.getpid() != self._process

    # ------------------------------------------------------------ forward pass

    def _called(self, module: nn.Module, args: Any) -> None:
        """Discovery: some module is called."""
        if torch.compiler.is_compiling() or self._off or self._passes_open:
            return
        if self._entrances.stands_at(module) or process.is_unheard() or self._is_elsewhere():
            return
        with self._guard():
            if not self._entrances.adopt(module):
                return
            if not self._entrances.stand_at(module):
                self._entrances.search(False)  # before the compiler meets our hook; an unknown parameter brings it back
                return
        self._enter(module, args, {})  # this call's own hooks were listed before ours was added

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before the forward pass of a root module."""
        if self._off or process.is_unheard() or torch.compiler.is_compiling():
            return
        if self._thread is None:
            self._settle_in_thread()
        if self._is_elsewhere():
            return
        self._passes_open.append(False)
        if len(self._passes_open) > 1:
            return
        with self._guard():
            self._close_step_by_hand()
            recording = self._recording
            if recording is None or not is_followable() or self._compiled_inside(module):
                return
            recording.passes += 1
            alone = self._sites.of_module.get(id(module))
            if alone is not None:
                self._called_alone.setdefault(alone.name)
            self._sites.refresh()
            self._tracer.begin(recording, tensors_in([args, kwargs]))
            self._tracer.__enter__()  # type: ignore[no-untyped-call]
            self._tracing = True
            self._passes_open[-1] = True

    def _settle_in_thread(self) -> None:
        """The training turns out to run in this thread: what was heard of another one was none of its own."""
        self._thread = threading.get_ident()
        self._steppers = {key: stepper for key, stepper in self._steppers.items() if stepper.sites}
        if self._backward_thread in (None, self._thread):
            return
        self._backward_thread, self._in_backward, self._backwards = None, 0, 0
        self._objective.forget()
        if self._recording is not None:
            self._recording.in_backward = False

    def _is_elsewhere(self) -> bool:
        """Whether this thread is another one than that in which the watched training runs, as far as that is known."""
        return self._thread not in (None, threading.get_ident())

    def _compiled_inside(self, root: nn.Module) -> bool:
        part = compiled_part(root)
        if part is not None:
            self._note(f"{part} is compiled: {WITHOUT_SIGNALS}")
        return part is not None

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        """After it, also when it raised."""
        if not self._passes_open or process.is_unheard() or self._is_elsewhere():
            return
        traced = self._passes_open.pop()
        if traced:
            self._tracer.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._tracing = False
            with self._guard():
                self._tracer.end(tensors_in(result))
                self._seconds += self._tracer.seconds
                self._tracer.seconds = 0.0
        if self._off and not self._passes_open:
            self._detach()

    # ----------------------------------------------------------- backward pass

    def backward_begins(self, roots: list[Tensor], targets: list[Any] | None) -> None:
        """A backward pass is about to start from ``roots``; with ``targets`` it is one of ``torch.autograd.grad``."""
        if self._off or self._is_elsewhere():
            return
        if is_transforming():
            self._gradients["torch.func"] += 1
            return
        if targets is not None and not any(id(target) in self._sites.of_parameter for target in targets):
            self._gradients["torch.autograd.grad"] += 1
            return
        self._gradients["backward"] += targets is None
        if self._in_backward and self._backward_thread != threading.get_ident():
            return
        self._backward_thread = threading.get_ident()
        self._in_backward += 1
        with self._guard():
            recording = self._recording
            if recording is not None:
                recording.in_backward = True
                if self._ledger.formats or not self._ledger.recorded:
                    listen_at_casts(roots, recording.before_rounding)
            if (
                self._in_backward == 1
                and len(roots) == 1
                and isinstance(roots[0], Tensor)
                and roots[0].numel() == 1
                and roots[0].requires_grad
            ):
                self._loss(roots[0])

    def backward_ended(self, targets: list[Any] | None, gradients: Any) -> None:
        """It has ended, or raised."""
        if not self._in_backward or self._backward_thread != threading.get_ident() or is_transforming():
            return
        self._in_backward -= 1
        with self._guard():
            recording = self._recording
            if recording is not None:
                recording.in_backward = self._in_backward > 0
                self._seconds += recording.seconds
                recording.seconds = 0.0
            if self._off:
                return
            self._backwards += 1
            if not self._steppers:
                self._by_hand.read(recording, self._heard, targets, gradients)
            elif self._rounds.lead is None and self._backwards >= IDLE_BACKWARDS:
                self._idle()
            if self._close_after_backward and not self._in_backward:
                self._close_after_backward = False
                self._close_step()

    def _idle(self) -> None:
        """An optimiser was announced but never steps. Each backward pass counts as a step until one does."""
        self._note(
            f"{self._backwards} backward passes and no optimizer step: from now on each backward pass counts as a step."
        )
        for stepper in self._steppers.values():
            if self._recording is not None:
                measure_gradients(self._recording, stepper.sites, self._heard)
        self._close_step(idle=True)

    def loss_scaled(self, scale: Tensor) -> None:
        """A gradient scaler multiplied a loss by ``scale``."""
        self._objective.scale = scale

    @contextlib.contextmanager
    def recomputation(self) -> Iterator[None]:
        """A reentrant checkpoint runs its layers again in the backward pass: only now have they gradients to hear."""
        recording = self._recording
        if self._off or recording is None or not recording.in_backward or self._tracing:
            yield
            return
        with self._guard():
            self._tracer.recomputing = True
            self._tracer.begin(recording, [])
        try:
            with self._tracer:
                yield
        finally:
            self._tracer.recomputing = False
            self._tracer.abandon()

    def _loss(self, loss: Tensor) -> None:
        if self._objective.has_losses and len(self._steppers) == 1 and not self._accumulating():
            self._objective.forget()  # the gradient was thrown away: another look at the same one (LBFGS, SAM)
        value = self._objective.add(loss)
        if value is not None and np.isfinite(value):
            self._outbreak.finite(loss, self._recording)
        elif value is not None:
            self._outbreak.lost(loss, self._step, self._recording)
        if not self._loss_known and self._recording is not None:
            self._loss_known = True
            owners = {id(parameter): site.name for site in self._sites.all for parameter in site.parameters.values()}
            self._ledger.event("loss_kind", self._step, **describe_loss(loss, owners))

    def _accumulating(self) -> bool:
        """Whether the gradient of an earlier backward pass of this step is still there, to be added to."""
        gradients = (parameter.grad for _, parameter in self._sites.parameters() if parameter.grad is not None)
        return any(gradient.device.type != "cpu" or bool(gradient.any()) for gradient in gradients)

    def _alarm(self, words: str) -> None:
        self._cadence.alarm(self._step)
        self._ledger.event("alarm", self._step, words=words)

    def _write_loss(self, step: int, value: float) -> None:
        self._ledger.scalar(step, "loss", value)

    # -------------------------------------------------------------- optimisers

    def _stepper(self, optimizer: torch.optim.Optimizer) -> Stepper:
        known = self._steppers.get(id(optimizer))
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        if known is None or known.count != count or known.models != len(self._sites.models):
            before, known = known, Stepper(optimizer, self._sites, count)
            self._steppers[id(optimizer)] = known
            if known.sites and self._step > 0 and not (before is not None and before.sites):
                self._cadence.restart(self._step + 1)  # a second model, or a second phase of the training
                self._loss_known = False
            if known.sites:
                names = [name for name, p in self._sites.parameters() if id(p) in known.parameters]
                self._ledger.event("optimizer", self._step, parameters=names, **hyperparameters(optimizer))
        return known

    def step_begins(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """An optimiser is about to step."""
        if self._off or self._is_of_another_training(optimizer):
            return
        with self._guard():
            if self._origins is not None:
                self._origins.stepping(optimizer)
            stepper = self._stepper(optimizer)
            if stepper.unknown and self._whole_process:
                self._adopt_owner(optimizer, stepper)
                self._entrances.search(True)
            if not stepper.sites or self._recording is None:
                return
            if not args and not kwargs.get("closure"):
                measure_gradients(self._recording, stepper.sites, self._heard)
            keep_weights(self._recording, stepper)

    def _is_of_another_training(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether it steps in another thread, for no model of ours; accelerators call gradient hooks from theirs."""
        if not self._is_elsewhere():
            return False
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        return not any(id(parameter) in self._sites.of_parameter for parameter in parameters)

    def _adopt_owner(self, optimizer: torch.optim.Optimizer, stepper: Stepper) -> None:
        """An optimiser steps for a model whose calls were not seen: a compiled one, or one under ``torch.func``."""
        if stepper.sites or id(optimizer) in self._searched:
            return
        self._searched.add(id(optimizer))
        owner = process.find_owner(optimizer.param_groups[0]["params"][0])
        if owner is not None and self._entrances.adopt(owner):
            self._entrances.stand_at(owner)

    def step_ended(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """It has stepped."""
        if self._off or self._is_of_another_training(optimizer):
            return
        with self._guard():
            stepper = self._stepper(optimizer)
            if not stepper.sites:
                return
            if self._recording is not None:
                if args or kwargs.get("closure"):  # LBFGS has its gradient only now
                    measure_gradients(self._recording, stepper.sites, self._heard)
                measure_updates(self._recording, stepper)
                self._ledger.at_rest(self._step, at_rest(stepper), stepper.sites)
                self._note_rate(optimizer)
            if self._in_backward:  # it steps from a gradient hook: the other layers, and theirs, are still to come
                self._rounds.lead = self._rounds.lead or id(optimizer)
                self._close_after_backward = True
            elif self._rounds.ends_round(id(optimizer)):
                self._close_step()

    def step_skipped(self, optimizer: torch.optim.Optimizer) -> None:
        """A gradient scaler left its step out. That was a step of the training all the same, one that was lost."""
        if self._off or self._is_of_another_training(optimizer):
            return
        with self._guard():
            stepper = self._stepper(optimizer)
            if not stepper.sites:
                return
            given = (p for site in stepper.sites for p in site.parameters.values() if p.grad is not None)
            self._heard.update(map(id, given))  # the optimiser receives none of these gradients
            if self._recording is not None:
                self._note_rate(optimizer)
            if self._rounds.ends_round(id(optimizer)):
                self._close_step()

    def _note_rate(self, optimizer: torch.optim.Optimizer) -> None:
        rate = optimizer.param_groups[0].get("lr")
        if rate is not None and id(optimizer) in (self._rounds.lead, None):
            self._ledger.scalar(self._step, "lr", float(rate))

    # -------------------------------------------------------------------- steps

    def _begin_recording(self) -> None:
        self._outbreak.next_step()
        if self._cadence.wants(self._step):
            distributions = self._ledger.recorded in DISTRIBUTIONS
            self._recording = Recording(self._step, self._signals, self._failed, distributions=distributions)

    def _close_step(self, *, idle: bool = False) -> None:
        """The step is over: write what was measured, tell the cadence what it cost, decide on the next."""
        started = perf_counter()
        recording, self._recording = self._recording, None
        # One optimiser steps on the sum of the gradients of all its backward passes; several have a loss each.
        summed = len(self._steppers) == 1 and not idle
        self._objective.end_step(self._step, summed=summed, recorded=recording is not None)
        recorded = recording is not None and self._write(recording)
        if recording is not None:
            self._seconds += recording.seconds
        spent = self._seconds - self._seconds_before + (perf_counter() - started)
        now = perf_counter()
        elapsed = now - self._last_boundary - spent if self._last_boundary is not None else spent
        self._last_boundary = now
        self._cadence.paid(self._step, spent, max(elapsed, 0.0), recorded)
        self._seconds_before = self._seconds + (perf_counter() - started)
        self._step += 1
        self._backwards = IDLE_BACKWARDS if idle else 0
        self._begin_recording()

    def _close_step_by_hand(self) -> None:
        """Without an optimiser: if the weights have changed since the backward pass, that was a step."""
        if not self._steppers and self._by_hand.has_stepped():
            self._by_hand.end_step(self._recording)
            self._close_step()

    def _write(self, recording: Recording) -> bool:
        """Reduce and keep one step. Nothing is kept where neither a gradient nor an update came."""
        if not recording.heard and not recording.optimiser_rows and not recording.entries:
            return False
        self._objective.flush()
        scale = self._objective.factor() * gradient_scale(self._sites.of_parameter)
        places = self._origins.news(self._sites) if self._origins is not None else None
        chronicle = self._ledger.write(recording, scale, places)
        self._outbreak.examine(recording, chronicle)
        self._tell_missing()
        self._look_for_the_unseen(recording)
        return True

    def _look_for_the_unseen(self, recording: Recording) -> None:
        """Passes that could not be followed, layers called by themselves, and models not found yet."""
        recorded, notes = self._ledger.recorded, self._ledger.notes
        self._unseen += not recording.passes
        if self._unseen == recorded == UNSEEN_AFTER and not notes:
            self._note(f"No forward pass could be followed (compiled, or under torch.func): {WITHOUT_SIGNALS}")
        if recorded == UNSEEN_AFTER and len(self._called_alone) > 1:
            self._note(_told_alone([*self._called_alone]))
        if self._entrances.are_searched and self._steppers and not self._unknown_parameters():
            self._entrances.search(False)
        called_otherwise = not recording.passes and not self._whole_process and recorded > 1
        if called_otherwise and not notes and not process.is_called_compiled(self._sites.module_names):
            self._entrances.search(True)  # parts of the model are called, never the model itself

    def _unknown_parameters(self) -> bool:
        return any(stepper.unknown for stepper in self._steppers.values())

    def _tell_missing(self) -> None:
        """Which parameters no gradient has reached, and why, once some steps have been seen."""
        self._settled += 1
        if self._settled >= SETTLED_AFTER:
            self._report_missing()

    def _report_missing(self) -> None:
        self._ledger.missing(self._step, missing_gradients(self._sites, self._heard, self._steppers.values()))

    # ---------------------------------------------------------------- the end

    def _finish(self, ending: str) -> None:
        self._close_step_by_hand()
        recording = self._recording
        if recording is not None and (recording.heard or recording.optimiser_rows):
            self._close_step()  # interrupted between the backward pass and the update
        if self._settled:
            self._report_missing()
        self._objective.flush()
        self._write_end(ending)

    def _write_end(self, ending: str) -> None:
        self._ledger.event(
            "end",
            self._step,
            steps=self._step,
            recorded=self._ledger.recorded,
            cost=self._cadence.spent,
            elapsed=self._cadence.trained,
            ending=ending,
        )


def _all_are(kind: type, given: Iterable[object], argument: str) -> None:
    for value in given:
        if not isinstance(value, kind):
            raise UnsupportedModel(
                f"{argument}: a {type(value).__name__} was given; a {kind.__module__}.{kind.__qualname__} or several "
                "of them are needed."
            )


def _chosen(signals: Sequence[str] | None) -> frozenset[Signal]:
    if signals is None:
        return frozenset(Signal)
    try:
        chosen = frozenset(Signal(name) for name in signals)
    except ValueError as error:
        raise IsometryError(f"signals: {error}; the signals are {', '.join(Signal)}.") from None
    return chosen | ({Signal.WEIGHT} if Signal.UPDATE in chosen else set())


def _told_alone(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return (
        f"`{names[0]}`, `{names[1]}`{rest} are called by no forward() of a module that holds them, so what stands "
        "between them is neither seen nor changed. Put these calls into forward(), and call the model itself: a "
        "LightningModule's training_step calls self(x)."
    )
