"""What a remedy is: a pure function of a diagnosis and one of its findings, with the facts stated in a decorator."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from isometry.catalogue import collect
from isometry.diagnosis.finding import PROBLEMS, Diagnosis, Finding
from isometry.errors import IsometryError
from isometry.network.edits import Edit
from isometry.treatment.prescription import Effect

__all__ = ["Proposal", "Remedy", "remedies", "remedy"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change that may help against one finding."""

    edits: tuple[Edit, ...]
    words: str
    """One sentence for the reader, with layers and numbers."""
    expected: float | None = None
    """log10 of ‖δ‖ at the first layer over that at the last, foretold with the change; None where theory has no say.
    [decades]"""
    is_resort: bool = False
    """Whether it is to be tried after all else that is as promising."""


Propose = Callable[[Diagnosis, Finding], Iterable[Proposal]]


@dataclass(frozen=True, slots=True)
class Remedy:
    """One kind of change, and the problems that it is good against."""

    name: str
    treats: tuple[str, ...]
    """Problems, as ``PROBLEMS`` names them, those first against which it is best."""
    effect: Effect
    doc: str
    propose: Propose

    def __call__(self, diagnosis: Diagnosis, finding: Finding) -> tuple[Proposal, ...]:
        """What it proposes against a finding, the most promising first; nothing where it is not meant for it."""
        return tuple(self.propose(diagnosis, finding)) if finding.problem in self.treats else ()


def remedy(name: str, *, treats: Sequence[str], effect: Effect) -> Callable[[Propose], Remedy]:
    """Make a remedy of the decorated function.

    Args:
        name: unique among all remedies, words with hyphens
        treats: problems out of ``PROBLEMS`` whose findings it is asked about, those first against which it is best;
            among changes that promise the same this decides
        effect: what its changes cost

    The function proposes from the causes of the finding and the numbers of the run, and nothing where they do not tell.
    """
    for problem in treats:
        if problem not in PROBLEMS:
            raise IsometryError(
                f"Remedy {name} treats {problem!r}, which is not in PROBLEMS. "
                "Use one of those names, or add this one to diagnosis/finding.py."
            )

    def decorate(propose: Propose) -> Remedy:
        return Remedy(name, tuple(treats), effect, inspect.getdoc(propose) or "", propose)

    return decorate


@cache
def remedies() -> tuple[Remedy, ...]:
    """Every remedy there is, gentle ones first: those of this package and those offered as ``isometry.remedies``.

    Raises:
        IsometryError: two remedies have one name.
    """
    found = collect(Remedy, package="isometry.treatment.remedies", group="isometry.remedies")
    for name, count in Counter(one.name for one in found).items():
        if count > 1:
            places = ", ".join(one.propose.__module__ for one in found if one.name == name)
            raise IsometryError(f"{count} remedies are called {name}: {places}. Give each a name of its own.")
    return tuple(sorted(found, key=lambda one: (tuple(Effect).index(one.effect), one.name)))
