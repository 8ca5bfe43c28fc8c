"""Looks at a network before its first step: one measured pass, and the same in networks drawn anew.

Everything happens in a copy of the model, with random numbers of its own, so the user's model, its buffers and the
state of the generators stay as they are.
"""

import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import thread_time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._pytree import tree_map

from isometry.adapters.torch import measure
from isometry.adapters.torch.alteration import Alteration
from isometry.adapters.torch.cotangents import cotangents_of
from isometry.adapters.torch.jacobian import jacobian_of
from isometry.adapters.torch.loss import describe_loss
from isometry.adapters.torch.recording import Recording, tensors_in
from isometry.adapters.torch.redraw import KEPT, Law, draw, law_of
from isometry.adapters.torch.sites import Site, Sites
from isometry.adapters.torch.trace import Tracer
from isometry.errors import IsometryError, UnsupportedModel
from isometry.history.history import Floats, History
from isometry.history.inspection import Drawn, JacobianFacts
from isometry.history.provenance import provenance
from isometry.history.run import Run
from isometry.network.edits import NetworkEdit, Reinitialise, ScaleWeights
from isometry.network.signals import Signal

__all__ = ["Inspector", "own_numbers"]

LEVELS = frozenset({Signal.PRE_ACTIVATION, Signal.DELTA})
"""The signals whose sizes are wanted of drawn networks."""
ENOUGH_WORK = 400_000_000
"""Multiplications in a forward pass of a drawn network; beyond it some samples of the batch have to do …"""
FEWEST_SAMPLES = 16
"""… but so many in any case."""
APART, MOST_NETS = 1 << 40, 1 << 20
"""Keep our seeds from those of users: data drawn after ``manual_seed(0)`` shall not come again as weights."""
FEWEST = 3
"""Networks that are drawn however long it takes: two have no scatter worth the name."""


class Inspector:
    """A copy of a model with the batch that it is asked about.

    Args:
        model: the user's; it is copied.
        args: what its forward pass takes; copied for each pass, for a model may write into them.
        kwargs: likewise, by name.
        loss_fn: model's output → loss, or None where it has none.
        cotangents: ∂L/∂output instead, one for each tensor of the output, None where none is. Where neither a loss nor
            they are known, a random direction comes back.
        loss: its value, where ``cotangents`` are given.
        loss_kind: what ``describe_loss`` says of it, likewise.
        notes: what was left out on the way here, one sentence each.
        seed: of every random number that is drawn here.

    Raises:
        UnsupportedModel: the model cannot be copied, or its forward pass fails or gives nothing to derive.
    """

    def __init__(
        self,
        model: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        loss_fn: Callable[[Any], Any] | None = None,
        cotangents: list[Tensor | None] | None = None,
        loss: float | None = None,
        loss_kind: Mapping[str, Any] | None = None,
        notes: Iterable[str] = (),
        seed: int = 0,
    ) -> None:
        try:
            self._model = copy.deepcopy(model)
        except Exception as fault:
            raise UnsupportedModel(
                f"A {type(model).__name__} cannot be copied ({type(fault).__name__}: {fault}), and networks are drawn "
                "in a copy. Check the model before it holds locks, open files or results of other tensors."
            ) from fault
        if any(isinstance(parameter, UninitializedParameter) for parameter in self._model.parameters()):
            raise UnsupportedModel(
                f"{type(model).__name__} has parameters that take their shape from the first batch. Call the model "
                "with a batch once before it is checked."
            )
        _without_hooks(self._model)
        self._model.zero_grad(set_to_none=True)
        self._args, self._kwargs = args, kwargs
        self._own_loss = False
        """The loss can be computed of the outputs of drawn networks too."""
        self._measured: tuple[Floats, Floats] | None = None
        self._told = tuple(notes)
        self._by_input = False
        """Gradients are asked of the input instead of the parameters."""
        self._seed = seed
        self._sites = Sites()
        self._sites.add(self._model)
        self._tracer = Tracer(self._sites)
        self._loss_fn, self._cotangents, self._loss, self._loss_kind = loss_fn, cotangents, loss, loss_kind
        self._buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        self._laws = {id(weight): law_of(weight) for weight in self._weights()}
        self._initial = [(weight, weight.detach().clone()) for weight in self._weights()]

    # ------------------------------------------------------------ the one pass

    def measure(self) -> Run:
        """One forward and backward pass of the network as it is: a run in memory, of one step without updates."""
        recording = Recording(0, frozenset(Signal), _raise, distributions=True)
        with self._undisturbed():
            outputs = self._forward(recording, None)
            self._derive(outputs)
            self._backward(recording, outputs)
        self._weigh(recording)
        columns, _ = recording.reduce(self._sites.in_order(), {}, 1.0)
        history = History.from_arrays(
            [0],
            {key: values[None, :] for key, values in columns.items()},
            scalars={} if self._loss is None else {"loss": [self._loss]},
            events=self._events(recording),
        )
        self._measured = _log_sizes(columns, Signal.PRE_ACTIVATION, False), _log_sizes(columns, Signal.DELTA, True)
        self._thin(columns)
        facts = provenance(
            framework="torch",
            torch=str(torch.__version__),
            name=type(self._model).__name__,
            parameters=sum(parameter.numel() for parameter in self._model.parameters()),
        )
        return Run(self._sites.architecture(), history, facts)

    def as_it_is(self) -> Drawn:
        """The sizes of the signals in the network that is there, on the samples that the drawn ones are given."""
        if self._measured is None:
            with self._undisturbed():
                self._measured = self._sizes(None)
            self._restore([])
        forward, backward = self._measured
        return Drawn(forward[None], backward[None])

    def _thin(self, columns: Mapping[tuple[str, str], Floats]) -> None:
        """Leave out samples where a pass takes long; a norm over the samples alone, not over positions, needs all."""
        sites = self._sites.in_order()
        if any("batchnorm1d" in site.type.lower() for site in sites):
            return
        work = 0.0
        for site, outputs in zip(sites, columns[Signal.PRE_ACTIVATION, "count"], strict=True):
            layer = site.layer()
            if layer.fan_in and np.isfinite(outputs):
                work += layer.fan_in * float(outputs)
        batch = [self._args, self._kwargs, self._cotangents]
        rows = {len(tensor) if tensor.dim() else 0 for tensor in tensors_in(batch)}
        if work <= ENOUGH_WORK or len(rows) != 1:
            return
        kept = max(int(rows.pop() * ENOUGH_WORK / work), FEWEST_SAMPLES)
        self._measured = None
        self._own_loss = False  # it has the targets of the whole batch
        self._args, self._kwargs, self._cotangents = tree_map(
            lambda value: value[:kept] if isinstance(value, Tensor) else value, batch
        )

    def _derive(self, outputs: Any) -> None:
        """Find out what comes back from the loss, where that is not known."""
        loss = self._loss_of(outputs)
        if loss is not None:
            self._own_loss = True
            self._cotangents = cotangents_of(loss, tensors_in(outputs))
            self._loss, self._loss_kind = float(loss.detach()), describe_loss(loss)
        elif self._cotangents is None:
            self._cotangents = _random_direction(tensors_in(outputs))

    def _events(self, recording: Recording) -> dict[str, list[dict[str, Any]]]:
        """What a watch notes beside the columns."""
        kept = (recording.distributions or {}).items()
        events = {
            "histogram": [{"layer": site.name, "signal": str(signal), **counts} for (site, signal), counts in kept],
            "through_time": [{"layer": site.name, "rms": rms} for site, rms in recording.time_profiles(1.0)],
            "loss_kind": [dict(self._loss_kind)] if self._loss_kind is not None else [],
        }
        return {kind: [{"step": 0, **entry} for entry in entries] for kind, entries in events.items() if entries}

    def _weigh(self, recording: Recording) -> None:
        """Weights and their gradients, as an optimiser would find them."""
        for site in self._sites.in_order():
            weights = [weight for weight in site.weights if measure.measurable(weight)]
            if weights:
                recording.optimiser(site, Signal.WEIGHT, [measure.row(weight) for weight in weights])
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            if gradients:
                recording.optimiser(site, Signal.WEIGHT_GRADIENT, [measure.row(gradient) for gradient in gradients])

    # --------------------------------------------------------- networks drawn anew

    def draw(
        self, nets: int, *, edits: Sequence[NetworkEdit] = (), seconds: float = math.inf, fewest: int = FEWEST
    ) -> Drawn:
        """The same pass in networks whose weights are drawn from the law of these weights.

        Args:
            nets: how many, at most.
            edits: changes to the network, and to the laws, that are tried on the way.
            seconds: after this time no further one is drawn …
            fewest: … but so many are in any case.
        """
        if self._cotangents is None:
            raise IsometryError("Networks are drawn after the one that is there has been measured.")
        laws = self._laws | self._laws_of(edits)
        alteration = Alteration(edits)
        forward, backward = [], []
        started = thread_time()
        asked = self._without_weight_gradients()
        try:
            for number in range(nets):
                if number >= fewest and thread_time() - started > seconds * number / (number + 1):
                    break
                sizes = self._drawn(number, laws, alteration)
                forward.append(sizes[0])
                backward.append(sizes[1])
        finally:
            self._restore(asked)
        return Drawn(np.array(forward), np.array(backward))

    def _drawn(self, number: int, laws: Mapping[int, Law], alteration: Alteration) -> tuple[Floats, Floats]:
        generators: dict[torch.device, torch.Generator] = {}
        for weight in self._weights():
            if weight.device not in generators:
                generators[weight.device] = torch.Generator(weight.device).manual_seed(self._seed_of(number))
            draw(weight, laws[id(weight)], generators[weight.device])
        with self._undisturbed(number):
            return self._sizes(alteration)

    def _sizes(self, alteration: Alteration | None) -> tuple[Floats, Floats]:
        recording = Recording(0, LEVELS, _raise, levels_only=True)
        self._backward(recording, self._forward(recording, alteration))
        columns, _ = recording.reduce(self._sites.in_order(), {}, 1.0)
        return _log_sizes(columns, Signal.PRE_ACTIVATION, False), _log_sizes(columns, Signal.DELTA, True)

    def _laws_of(self, edits: Iterable[NetworkEdit]) -> dict[int, Law]:
        """Laws that an edit puts in the place of those that were found."""
        changed: dict[int, Law] = {}
        for edit in edits:
            if not isinstance(edit, Reinitialise | ScaleWeights):
                continue
            for site in (site for site in self._sites.all if site.name in edit.layers):
                for weight in site.weights:
                    law = self._law_under(edit, site, self._laws[id(weight)])
                    if weight.dim() >= 2 and law is not None:
                        changed[id(weight)] = law
        return changed

    @staticmethod
    def _law_under(edit: Reinitialise | ScaleWeights, site: Site, law: Law) -> Law | None:
        if isinstance(edit, ScaleWeights):
            return replace(law, mean=edit.factor * law.mean, std=edit.factor * law.std)
        fan_in = site.layer().fan_in
        return (
            Law("orthogonal" if edit.orthogonal else "normal", 0.0, edit.gain / math.sqrt(fan_in)) if fan_in else None
        )

    def jacobian(self) -> JacobianFacts:
        """How the network as it is maps small changes of its input to changes of its output."""
        with self._undisturbed():
            return jacobian_of(self._model, *tree_map(_fresh, (tuple(self._args), dict(self._kwargs))))

    # -------------------------------------------------------------- what there is

    def scales(self) -> tuple[Floats, Floats, tuple[str, ...]]:
        """σ_w and σ_b of each layer, and the law that its weights look drawn from; in the order of the run's layers."""
        sigma_w, sigma_b, laws = [], [], []
        for site in self._sites.in_order():
            fan_in = site.layer().fan_in
            matrices = [weight for weight in site.weights if weight.dim() >= 2]
            square = float(np.mean([self._laws[id(w)].std ** 2 for w in matrices])) if matrices else math.nan
            sigma_w.append(math.sqrt(square * fan_in) if fan_in else math.nan)
            biases = [p for p in site.parameters.values() if all(p is not weight for weight in site.weights)]
            sigma_b.append(math.sqrt(sum(float(b.detach().double().square().mean()) for b in biases)))
            laws.append(self._laws[id(matrices[0])].kind if matrices else KEPT.kind)
        return np.array(sigma_w), np.array(sigma_b), tuple(laws)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the prediction does not cover, one sentence each."""
        kept = [
            site.name
            for site in self._sites.in_order()
            if site.layer().weighted and any(self._laws[id(w)].kind == "kept" for w in site.weights if w.dim() >= 2)
        ]
        if not kept:
            return self._told
        names = ", ".join(kept[:4]) + (f" and {len(kept) - 4} more" if len(kept) > 4 else "")
        return (
            *self._told,
            f"Weights of {names} are too few to tell their law, constant, or have a structure: they were kept.",
        )

    def _weights(self) -> list[Tensor]:
        found = {
            id(weight): weight for site in self._sites.all for weight in site.weights if weight.is_floating_point()
        }
        return list(found.values())

    # ------------------------------------------------------------------ one pass

    def _forward(self, recording: Recording, alteration: Alteration | None) -> Any:
        args, kwargs = tree_map(_fresh, (tuple(self._args), dict(self._kwargs)))
        if self._by_input:
            args, kwargs = tree_map(_asking, (args, kwargs))
        recording.passes += 1
        self._tracer.alteration = alteration
        self._tracer.begin(recording, tensors_in([args, kwargs]))
        try:
            with self._tracer:
                outputs = self._model(*args, **kwargs)
            self._tracer.end(tensors_in(outputs))
        except IsometryError:
            raise
        except Exception as fault:
            raise UnsupportedModel(
                f"The forward pass of {type(self._model).__name__} failed: {type(fault).__name__}: {fault}. "
                "It needs a batch as in training."
            ) from fault
        finally:
            self._tracer.abandon()
        return outputs

    def _backward(self, recording: Recording, outputs: Any) -> None:
        """Send back what the loss does: of these outputs, or else what it did when the network was measured."""
        loss = self._loss_of(outputs) if self._own_loss else None
        if loss is not None:
            self._sent(recording, loss)
            return
        tensors = tensors_in(outputs)
        assert self._cotangents is not None
        pairs = [
            (tensor, cotangent)
            for tensor, cotangent in zip(tensors, self._cotangents, strict=False)
            if cotangent is not None and tensor.requires_grad
        ]
        if not pairs:
            raise UnsupportedModel(
                f"{type(self._model).__name__} gives nothing that a gradient could come back through: its outputs do "
                "not depend on a trainable parameter, or the loss does not depend on them."
            )
        # As one number: given gradients, torch first imports all that it needs for symbolic shapes, for a second.
        products = [(tensor.double() * cotangent.double()).sum() for tensor, cotangent in pairs]
        self._sent(recording, torch.stack(products).sum())

    @staticmethod
    def _sent(recording: Recording, loss: Tensor) -> None:
        recording.in_backward = True
        loss.backward()
        recording.in_backward = False

    def _loss_of(self, outputs: Any) -> Tensor | None:
        try:
            loss = self._loss_fn(outputs) if self._loss_fn is not None else None
        except Exception as fault:
            raise IsometryError(
                f"The loss function failed: {type(fault).__name__}: {fault}. It is called with the model's output and "
                "the targets of the batch."
            ) from fault
        return None if loss is None else _scalar(loss)

    @contextmanager
    def _undisturbed(self, number: int = 0) -> Iterator[None]:
        """Random numbers of our own; buffers and gradients as before afterwards."""
        devices = sorted({p.device.index or 0 for p in self._model.parameters() if p.device.type == "cuda"})
        with own_numbers(self._seed_of(number), devices), torch.enable_grad():
            yield
        with torch.no_grad():
            for name, buffer in self._model.named_buffers():
                if name in self._buffers:
                    buffer.copy_(self._buffers[name])

    def _without_weight_gradients(self) -> list[nn.Parameter]:
        """Ask for gradients of the input instead: δ needs no others, and they take half of the backward pass.

        Returns:
            The parameters that had asked for theirs. None are changed where the input is no tensor of real numbers.
        """
        if not any(tensor.is_floating_point() for tensor in tensors_in([self._args, self._kwargs])):
            return []
        asked = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        for parameter in asked:
            parameter.requires_grad_(False)
        self._by_input = True
        return asked

    def _seed_of(self, number: int) -> int:
        return APART + MOST_NETS * self._seed + number

    def _restore(self, asked: Iterable[nn.Parameter]) -> None:
        with torch.no_grad():
            for weight, values in self._initial:
                weight.copy_(values)
        for parameter in asked:
            parameter.requires_grad_()
        self._by_input = False
        self._model.zero_grad(set_to_none=True)


@contextmanager
def own_numbers(seed: int, devices: Sequence[int] = ()) -> Iterator[None]:
    """The generators of torch, NumPy and Python begin at a seed of ours, and are put back where they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _raise(fault: Exception) -> None:
    """A fault of ours, not of the model."""
    raise IsometryError(
        f"isometry failed at measuring this model: {type(fault).__name__}: {fault}. What it does is not supported yet."
    ) from fault


def _without_hooks(model: nn.Module) -> None:
    """The user's own hooks would be called for networks that are none of theirs; torch's make up the weights."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            for key, hook in list(hooks.items()):
                made_by = getattr(hook, "__module__", None) or type(hook).__module__
                if not made_by.startswith("torch."):
                    del hooks[key]


def _fresh(value: Any) -> Any:
    """The same tensor, unknown to any graph and out of reach of in-place operations."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def _asking(value: Any) -> Any:
    """The same tensor, asking for its gradient, and yet free to be written into: it is no leaf."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.requires_grad_().clone()


def _scalar(loss: Any) -> Tensor:
    if isinstance(loss, Tensor) and loss.numel() == 1:
        if loss.requires_grad:
            return loss
        raise UnsupportedModel(
            "The loss depends on no trainable parameter: all are frozen, or the output is detached from them."
        )
    found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    raise IsometryError(
        f"The loss function gave {found}; one number is needed that depends on the model's parameters. "
        "Average over the batch, and let it read the model's output."
    )


def _random_direction(outputs: Sequence[Tensor]) -> list[Tensor | None]:
    """As if a loss sent back an arbitrary direction, through the first output that has a gradient."""
    first = next((tensor for tensor in outputs if tensor.requires_grad), None)
    if first is None:
        return [None] * len(outputs)
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(first.shape, generator=generator).to(first)
    return [direction if tensor is first else None for tensor in outputs]


def _log_sizes(columns: Mapping[tuple[str, str], Floats], signal: Signal, whole: bool) -> Floats:
    """log10 of a signal's rms, or of its norm over the whole batch. shape (layers,)"""
    rms, count = columns[signal, "rms"], columns[signal, "count"]
    lost = columns[signal, "nan"] + columns[signal, "inf"] > 0
    with np.errstate(divide="ignore"):
        sizes = np.log10(rms * np.sqrt(count) if whole else rms)
    return np.asarray(np.where(lost, np.nan, sizes))
