"""What is said of a run that holds several trainings, one after another."""

from collections.abc import Sequence
from dataclasses import replace

from isometry.diagnosis.finding import Diagnosis, Finding, NotChecked
from isometry.history.run import Run

__all__ = ["told_together"]

Place = tuple[int, Finding]
"""Which training, counted from 0, and what was found in it."""


def told_together(run: Run, diagnoses: Sequence[Diagnosis]) -> Diagnosis:
    """One diagnosis of a run from those of its trainings: each finding says in which, equal ones are told once.

    Findings of one rule are equal where the networks are of one kind and the same layers are concerned, at least in
    part: as in the folds of a cross-validation. The gravest is told, with the layers of all.

    Args:
        run: with all its trainings.
        diagnoses: of each of them, in their order.
    """
    groups: list[list[Place]] = []
    for k, diagnosis in enumerate(diagnoses):
        for finding in diagnosis.findings:
            group = next((group for group in groups if _belongs((k, finding), group, diagnoses)), None)
            if group is None:
                groups.append([(k, finding)])
            else:
                group.append((k, finding))
    found = [_merged(group, diagnoses) for group in groups]
    checked = dict.fromkeys(problem for diagnosis in diagnoses for problem in diagnosis.checked)
    return Diagnosis(
        tuple(sorted(found, key=lambda finding: -finding.severity)), tuple(checked), _not_checked(diagnoses), run
    )


def _belongs(place: Place, group: Sequence[Place], diagnoses: Sequence[Diagnosis]) -> bool:
    (k, finding), (first, told) = place, group[0]
    if any(k == other for other, _ in group):
        return False
    mine, theirs = diagnoses[k].run, diagnoses[first].run
    if finding.code != told.code or _kind(mine) != _kind(theirs):
        return False
    concerned, before = _positions(finding, mine), _positions(told, theirs)
    return concerned == before or not concerned.isdisjoint(before)


def _kind(run: Run) -> list[tuple[object, ...]]:
    """What two networks have in common that were made by the same code."""
    return [(layer.type, layer.weight_shape, layer.activation) for layer in run.architecture]


def _positions(finding: Finding, run: Run) -> frozenset[int]:
    return frozenset(run.architecture.index(name) for name in finding.layers if name in run.architecture)


def _merged(group: Sequence[Place], diagnoses: Sequence[Diagnosis]) -> Finding:
    k, worst = max(group, key=lambda place: place[1].severity)
    layers = dict.fromkeys(name for _, finding in group for name in finding.layers)
    if len(group) == 1:
        history, total = diagnoses[k].run.history, len(diagnoses)
        last = history.begin + history.total_steps - 1
        where = f"this is training {k + 1} of {total}, steps {history.begin:,} … {last:,}"
    elif len(group) == len(diagnoses):
        where = f"so in each of {len(diagnoses)} trainings, one after another"
    else:
        where = f"so in {len(group)} of {len(diagnoses)} trainings, one after another"
    since = min((finding.first_step for _, finding in group if finding.first_step is not None), default=None)
    return replace(worst, layers=tuple(layers), first_step=since, summary=f"{worst.summary}; {where}")


def _not_checked(diagnoses: Sequence[Diagnosis]) -> tuple[NotChecked, ...]:
    """What could not be looked for, and in which trainings where others could be looked at."""
    found: dict[tuple[str, str], dict[int, str]] = {}
    for k, diagnosis in enumerate(diagnoses):
        for entry in diagnosis.not_checked:
            found.setdefault((entry.problem, entry.code), {}).setdefault(k, entry.reason)
    told = []
    for (problem, code), reasons in found.items():
        reason, numbers = next(iter(reasons.values())), ", ".join(str(k + 1) for k in reasons)
        where = "" if len(reasons) == len(diagnoses) else f"in training {numbers} of {len(diagnoses)}: "
        told.append(NotChecked(problem, code, where + reason))
    return tuple(told)
