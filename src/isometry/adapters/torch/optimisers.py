"""What is read around an optimiser's step: gradients, weights, updates, and whose step ends a step of the training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from isometry.adapters.torch import measure
from isometry.adapters.torch.recording import Recording
from isometry.adapters.torch.sites import Site, Sites
from isometry.network.signals import Signal

__all__ = ["Rounds", "Stepper", "at_rest", "hyperparameters", "keep_weights", "measure_gradients", "measure_updates"]


class Stepper:
    """What one optimiser trains, in terms of layers."""

    def __init__(self, optimizer: torch.optim.Optimizer | None, sites: Sites, count: int) -> None:
        self.optimizer = optimizer  # kept, so that its id stays its own
        self.count = count
        self.models = len(sites.models)
        self.before: dict[int, Tensor] = {}
        self.fed: set[int] = set()
        """Ids of parameters outside the watched models that were seen with a gradient."""
        if optimizer is None:
            self.parameters = {id(p) for _, p in sites.parameters() if p.requires_grad}
            self.unknown = False
        else:
            listed = self.listed()
            self.parameters = {id(p) for p in listed if id(p) in sites.of_parameter}
            self.unknown = len(self.parameters) < len({id(p) for p in listed})
        self.sites = [site for site in sites.all if any(id(p) in self.parameters for p in site.parameters.values())]

    def listed(self) -> list[Tensor]:
        """What the optimiser holds at present, parts of the watched models or not."""
        return [p for group in self.optimizer.param_groups for p in group["params"]] if self.optimizer else []

    def trained(self) -> list[Tensor]:
        """First and last trained parameter: enough to see that a step was taken."""
        found = [p for site in self.sites for p in site.parameters.values() if id(p) in self.parameters]
        return [found[0], found[-1]] if found else []


class Rounds:
    """Tells where one step of the training ends, when one or several optimisers take turns."""

    def __init__(self, announced: int) -> None:
        self.announced = announced
        """Optimisers known before the first step."""
        self.lead: int | None = None
        """Key of the optimiser whose steps are the steps of the training."""
        self.stepped: dict[int, None] = {}
        """Those that have stepped since the last step of the training, in their order."""
        self.aligned = False

    def ends_round(self, key: int) -> bool:
        """Whether this optimiser's step ends a step of the training: the lead's does.

        With several optimisers (a GAN), the lead is the last one of a round, so that a round's forward passes and
        their gradients fall into one step; but one that steps more often than the lead takes its place.
        """
        before, repeated = list(self.stepped), key in self.stepped
        self.stepped[key] = None
        if self.lead is None:
            if not repeated and len(self.stepped) < self.announced:
                return False
            self.lead, self.aligned = key, bool(before)
        elif key == self.lead and before and not self.aligned:
            self.aligned = True
            self.lead = before[-1]
            return False
        elif key != self.lead and repeated:
            self.lead = key
        if key == self.lead:
            self.stepped.clear()
        return key == self.lead


def measure_gradients(
    recording: Recording, sites: Sequence[Site], heard: set[int], given: Mapping[int, Tensor] | None = None
) -> None:
    """The gradients as they stand now; ``heard`` learns which parameters have one.

    Args:
        recording: of this step.
        sites: layers to look at.
        heard: ids of the parameters that ever had a gradient.
        given: gradients by id of their parameter, where they are not in ``.grad``.
    """
    for site in sites:
        rows = []
        for parameter in site.parameters.values():
            gradient = given.get(id(parameter)) if given is not None else parameter.grad
            if gradient is None:
                continue
            heard.add(id(parameter))
        if not recording.wants(Signal.WEIGHT_GRADIENT):
            continue
        for weight in site.weights:
            gradient = given.get(id(weight)) if given is not None else weight.grad
            if gradient is not None and measure.measurable(gradient):
                rows.append(measure.row(gradient))
        if rows:
            recording.optimiser(site, Signal.WEIGHT_GRADIENT, rows)


def keep_weights(recording: Recording, stepper: Stepper) -> None:
    """Copy the weights before the step; a recorded step only."""
    if recording.wants(Signal.UPDATE) or recording.wants(Signal.WEIGHT):
        stepper.before = {id(w): w.detach().clone() for site in stepper.sites for w in site.weights}


def measure_updates(recording: Recording, stepper: Stepper) -> None:
    """What the step did to the weights, and what they were before."""
    before, stepper.before = stepper.before, {}
    for site in stepper.sites:
        old = [before[id(weight)] for weight in site.weights if id(weight) in before]
        if not old:
            continue
        if recording.wants(Signal.WEIGHT):
            recording.optimiser(site, Signal.WEIGHT, [measure.row(w) for w in old if measure.measurable(w)])
        if not recording.wants(Signal.UPDATE):
            continue
        new = [weight.detach() for weight in site.weights if id(weight) in before]
        changes = [after - earlier for after, earlier in zip(new, old, strict=True) if measure.measurable(after)]
        recording.optimiser(site, Signal.UPDATE, [measure.row(change) for change in changes])
        recording.applied.add(site)


def at_rest(stepper: Stepper) -> list[str]:
    """Layers whose weights this optimiser leaves as they are: all have a learning rate of 0."""
    if stepper.optimizer is None:
        return []
    still = {id(p) for group in stepper.optimizer.param_groups if group.get("lr") == 0 for p in group["params"]}
    weights = {
        site: [id(weight) for weight in site.weights if id(weight) in stepper.parameters] for site in stepper.sites
    }
    return [site.name for site, held in weights.items() if held and still.issuperset(held)]


def hyperparameters(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Name and settings of an optimiser, those of its first group."""
    group = optimizer.param_groups[0]
    kept = ("lr", "momentum", "betas", "eps", "weight_decay", "alpha", "nesterov", "amsgrad")
    facts: dict[str, Any] = {"name": type(optimizer).__name__}
    for name in kept:
        value = group.get(name)
        if isinstance(value, tuple | list):
            facts[name] = [float(item) for item in value]
        elif isinstance(value, bool | int | float | Tensor):
            facts[name] = float(value)
    return facts
