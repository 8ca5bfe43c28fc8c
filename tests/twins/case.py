"""What a case is: a training whose ground truth is measured, never asserted.

A case is sick when it misses a target within a budget of steps that its twin, which differs in exactly one
thing, reaches. A case is healthy when it reaches its target. `Family` makes one healthy case and its sick twins
from one recipe, and refuses twins that differ in more than one knob.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

__all__ = ["Case", "Family", "Ladder", "Sick", "Training", "finish", "is_true", "start"]


@dataclass(frozen=True, slots=True)
class Training:
    """An ordinary training, ready to run."""

    model: nn.Module
    optimizers: tuple[Optimizer, ...]
    steps: Iterator[float]
    """Each `next` does one whole step (forward, backward, optimizer) and gives the loss."""
    score: Callable[[], float]
    """How well it ended; higher is better. Called after the last step."""


@dataclass(frozen=True, slots=True)
class Case:
    """One training and what is known about it."""

    name: str
    problem: str | None
    """What is wrong with it; None for a healthy one."""
    build: Callable[[], Training]
    target: float
    """The score that a healthy training reaches and a sick one misses."""
    twin: str | None = None
    """The case that differs from this one in one thing only."""
    accept: frozenset[str] = frozenset()
    """Further problems that are right answers too, since a fault has consequences."""
    family: str = ""


@dataclass(frozen=True, slots=True)
class Sick:
    """A twin gone wrong: the one knob that was turned."""

    problem: str
    knob: str
    value: Any
    accept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One healthy training and its sick twins, each one knob away."""

    name: str
    recipe: Callable[..., Training]
    target: float
    healthy: Mapping[str, Any] = field(default_factory=dict)
    sick: tuple[Sick, ...] = ()

    def cases(self) -> list[Case]:
        """The healthy case first, then its twins."""
        healthy_name = f"{self.name} / healthy"
        cases = [
            Case(
                healthy_name,
                None,
                _bind(self.recipe, self.healthy),
                self.target,
                f"{self.name} / {_label(self.sick[0])}" if self.sick else None,
                family=self.name,
            )
        ]
        for twin in self.sick:
            if twin.knob in self.healthy and self.healthy[twin.knob] == twin.value:
                raise ValueError(f"{self.name}: {twin.knob} = {twin.value!r} is the healthy value.")
            cases.append(
                Case(
                    f"{self.name} / {_label(twin)}",
                    twin.problem,
                    _bind(self.recipe, {**self.healthy, twin.knob: twin.value}),
                    self.target,
                    healthy_name,
                    frozenset(twin.accept),
                    self.name,
                )
            )
        return cases


@dataclass(frozen=True, slots=True)
class Ladder:
    """One knob swept from healthy to broken: where training fails, against where the diagnosis begins to speak."""

    name: str
    problem: str
    recipe: Callable[..., Training]
    target: float
    knob: str
    values: tuple[Any, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    accept: tuple[str, ...] = ()

    def rungs(self) -> list[Case]:
        """One case a value; which of them are sick is left to the measurement."""
        return [
            Case(
                f"{self.name} / {self.knob}={value}",
                self.problem,
                _bind(self.recipe, {**self.fixed, self.knob: value}),
                self.target,
                None,
                frozenset(self.accept),
                self.name,
            )
            for value in self.values
        ]


def start(case: Case, seed: int) -> Training:
    """The training of a case, built from a seed."""
    torch.manual_seed(seed)
    return case.build()


def finish(training: Training) -> float:
    """Run a training to its end and give its score; minus infinity where it ended outside the numbers."""
    for _ in training.steps:
        pass
    score = training.score()
    return score if math.isfinite(score) else -math.inf


def is_true(case: Case, score: float) -> bool:
    """Whether this run of a case bears out its label: sick ones miss the target, healthy ones reach it."""
    return (score >= case.target) == (case.problem is None)


def _label(twin: Sick) -> str:
    return f"{twin.knob}={twin.value}"


def _bind(recipe: Callable[..., Training], knobs: Mapping[str, Any]) -> Callable[[], Training]:
    def build() -> Training:
        return recipe(**knobs)

    return build
