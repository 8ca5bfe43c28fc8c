"""What a rule is: a pure function over a run, with the facts about it stated in a decorator."""

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

from isometry.catalogue import collect
from isometry.diagnosis import limits
from isometry.diagnosis.finding import PROBLEMS, Finding
from isometry.errors import IsometryError
from isometry.history.run import Run

__all__ = ["Column", "Rule", "opened", "rule", "rules"]

Column = tuple[str, str]
"""(signal, statistic)"""

Judge = Callable[[Run], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to find one problem."""

    code: str
    """``G101``: G backward signal, A activations, W weights, U updates, N numerics, D data, L loss. Never reused."""
    name: str
    problem: str
    reads: tuple[Column, ...]
    """Columns without which the rule cannot say anything."""
    confidence: float
    """Precision measured on the twins."""
    doc: str
    judge: Judge
    follows: frozenset[str] = frozenset()
    """Problems that this one may be a consequence of."""
    title: str = ""
    """What a reader is told in place of the problem's name; empty where that is true of what the rule finds."""

    def missing(self, run: Run) -> tuple[Column, ...]:
        """The columns that the rule needs and the run does not hold."""
        return tuple(column for column in self.reads if column not in run.history)

    def __call__(self, run: Run) -> tuple[Finding, ...]:
        """What the rule finds, stamped with its own code, so that a copied rule cannot lie about its name.

        Raises:
            NotRecorded: the run does not hold what the rule needs, or has no layer that the rule is about.
        """
        return tuple(self._stamped(finding, run.architecture.names) for finding in self.judge(run))

    def _stamped(self, finding: Finding, layers: Sequence[str]) -> Finding:
        lowered = min(finding.confidence or self.confidence, self.confidence)
        summary = opened(finding.summary, layers)
        return replace(
            finding, problem=self.problem, title=self.title, code=self.code, confidence=lowered, summary=summary
        )


def opened(text: str, layers: Iterable[str]) -> str:
    """The text with a capital letter in front, unless it begins with the name of a layer or with a sign such as δ."""
    word = re.split(r"[\s:;,]", text, maxsplit=1)[0]
    is_name = any(word == name or text.startswith(f"{name} ") or word.startswith(f"{name}.") for name in layers)
    return text if is_name or not text[:1].isascii() else text[:1].upper() + text[1:]


def rule(
    code: str,
    *,
    problem: str,
    reads: Sequence[Column],
    confidence: float | None = None,
    follows: Sequence[str] = (),
    name: str = "",
    title: str = "",
) -> Callable[[Judge], Rule]:
    """Make a rule of the decorated function.

    Args:
        code: stable code, unique among all rules
        problem: one of ``PROBLEMS``
        reads: (signal, statistic) columns it needs; where one is missing the problem is reported as not checked
        confidence: precision measured on the twins, 0 to 1; left out, the one in ``limits.PRECISION``
        follows: problems that this one may be a consequence of. Where one of them is found too, and was there before,
            it is told first, and the finding of this rule says what it follows from.
        name: defaults to the function's name with hyphens
        title: what a reader is told in place of the problem's name

    The function may raise ``NotRecorded`` with a reason where the run has nothing for it to judge.
    """
    for named in (problem, *follows):
        if named not in PROBLEMS:
            raise IsometryError(
                f"Rule {code} names the problem {named!r}, which is not in PROBLEMS. "
                "Use one of those names, or add this one to diagnosis/finding.py."
            )
    if confidence is None and code not in limits.PRECISION:
        raise IsometryError(f"Rule {code} has no confidence. Measure its precision and give it as confidence=….")

    def decorate(judge: Judge) -> Rule:
        return Rule(
            code=code,
            name=name or judge.__name__.replace("_", "-"),
            problem=problem,
            reads=tuple((str(signal), statistic) for signal, statistic in reads),
            confidence=limits.PRECISION[code].value if confidence is None else confidence,
            doc=inspect.getdoc(judge) or "",
            judge=judge,
            follows=frozenset(follows),
            title=title,
        )

    return decorate


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule there is, by code: those of this package and those that other packages offer as ``isometry.rules``."""
    found = sorted(
        collect(Rule, package="isometry.diagnosis.rules", group="isometry.rules"), key=lambda rule: rule.code
    )
    for first, second in pairwise(found):
        if first.code == second.code:
            raise IsometryError(
                f"Two rules share the code {first.code}: {first.judge.__module__} and {second.judge.__module__}. "
                "Give one of them a new code."
            )
    return tuple(found)
