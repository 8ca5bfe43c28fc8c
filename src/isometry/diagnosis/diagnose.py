"""Asks every rule about a run and puts the answers in order."""

import warnings
from collections.abc import Iterable, Sequence

from isometry.diagnosis.finding import Diagnosis, Finding, NotChecked
from isometry.diagnosis.order import in_order
from isometry.diagnosis.rule import Rule, rules
from isometry.diagnosis.several import told_together
from isometry.diagnosis.trainings import trainings
from isometry.errors import IsometryError, NotRecorded
from isometry.history.run import Run

__all__ = ["diagnose"]


def diagnose(run: Run, only: Iterable[str] | None = None) -> Diagnosis:
    """What is wrong with a training, how one knows, and what could not be looked at.

    Networks that were trained one after another in one run are looked at one by one.

    Args:
        run: a run, live or read from its folder; nothing else is needed, no framework either
        only: problems, codes or names of rules; all of them if left out

    Raises:
        IsometryError: ``only`` names something that no rule is called.
    """
    chosen = _chosen(only)
    diagnoses = [_diagnosed(training, chosen) for training in trainings(run)]
    return diagnoses[0] if len(diagnoses) == 1 else told_together(run, diagnoses)


def _diagnosed(run: Run, chosen: Sequence[Rule]) -> Diagnosis:
    """What the rules say about one training."""
    findings: list[Finding] = []
    checked: dict[str, None] = {}
    not_checked: list[NotChecked] = []
    for rule in chosen:
        try:
            findings += _asked(rule, run)
            checked[rule.problem] = None
        except NotRecorded as reason:
            not_checked.append(NotChecked(rule.problem, rule.code, str(reason)))
        except Exception as fault:  # noqa: BLE001  one faulty rule must not cost the user the other rules' findings
            warnings.warn(f"Rule {rule.code} {rule.name} failed: {fault!r}", RuntimeWarning, stacklevel=3)
            not_checked.append(NotChecked(rule.problem, rule.code, f"the rule failed: {fault!r}"))
    ordered = in_order(findings, {rule.code: rule.follows for rule in chosen})
    return Diagnosis(ordered, tuple(checked), tuple(not_checked), run)


def _asked(rule: Rule, run: Run) -> tuple[Finding, ...]:
    missing = rule.missing(run)
    if missing:
        names = ", ".join(f"{signal} {statistic}" for signal, statistic in missing)
        raise NotRecorded(f"not recorded: {names}")
    return rule(run)


def _chosen(only: Iterable[str] | None) -> tuple[Rule, ...]:
    if only is None:
        return rules()
    wanted = (only,) if isinstance(only, str) else tuple(only)
    for name in wanted:
        if not any(_is_called(rule, name) for rule in rules()):
            raise IsometryError(
                f"No rule, code or problem is called {name!r}. "
                f"Known problems: {', '.join(dict.fromkeys(rule.problem for rule in rules()))}."
            )
    return tuple(rule for rule in rules() if any(_is_called(rule, name) for name in wanted))


def _is_called(rule: Rule, name: str) -> bool:
    return name in (rule.problem, rule.code, rule.name)
