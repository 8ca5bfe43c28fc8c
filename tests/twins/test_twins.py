"""The sick twin is found, the healthy one stays silent; and the cases are what they claim to be."""

from collections import Counter

import pytest
import torch

from isometry.diagnosis.finding import PROBLEMS

from . import CASES, FAMILIES, LADDERS, held_out
from .case import Case, Family, Sick
from .examine import Outcome, examine

SEEDS = (0, 1, 2)
EACH = 3
"""Sick cases of each problem that are trained here; ``benchmarks/recall.py`` trains all of them."""
FOUND_AT_LEAST = 0.9
ACCUSED_AT_MOST = 0.04
"""Which steps are recorded depends on the clock, so one borderline case may fall either way; the rates may not."""


def witnessed(case: Case) -> Outcome:
    """The first seed at which the case is what its label says."""
    torch.set_num_threads(1)
    for seed in SEEDS:
        outcome = examine(case, seed)
        if outcome.borne_out:
            return outcome
    pytest.fail(f"{case.name}: no seed of {SEEDS} bears out the label; the last score was {outcome.score:.3g}")


def sick_sample() -> list[Case]:
    """Some cases of every problem, spread over the list and so over the families."""
    chosen = []
    for problem in PROBLEMS:
        cases = [case for case in CASES if case.problem == problem]
        chosen += [cases[position * len(cases) // EACH] for position in range(EACH)]
    return chosen


def healthy_sample() -> list[Case]:
    """The healthy twins of the sick sample, and every other case of the zoo."""
    twins = {case.twin for case in sick_sample()}
    alone = [case for case in CASES if case.problem is None and case.name.startswith("zoo")]
    return [case for case in CASES if case.problem is None and case.name in twins] + alone[::2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sick_twins_are_found() -> None:
    outcomes = {case.name: witnessed(case) for case in sick_sample()}
    assert not [name for name, outcome in outcomes.items() if outcome.fault]
    missed = {name: o.findings for name, o in outcomes.items() if not o.right & set(o.grave)}
    assert len(missed) <= (1 - FOUND_AT_LEAST) * len(outcomes), missed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_healthy_trainings_are_not_accused() -> None:
    outcomes = {case.name: witnessed(case) for case in healthy_sample()}
    assert not [name for name, outcome in outcomes.items() if outcome.fault]
    accused = {name: o.findings for name, o in outcomes.items() if o.grave}
    assert len(accused) <= ACCUSED_AT_MOST * len(outcomes), accused


def test_every_problem_has_twins_of_several_families() -> None:
    families = Counter(problem for problem, _ in {(case.problem, case.family) for case in CASES if case.problem})
    assert set(families) == set(PROBLEMS)
    assert min(families.values()) >= 3


def test_half_of_the_cases_are_healthy() -> None:
    for cases in (CASES, held_out.CASES):
        assert 2 * sum(case.problem is None for case in cases) >= len(cases)


def test_accepted_names_are_problems() -> None:
    for case in [*CASES, *held_out.CASES, *(rung for ladder in LADDERS for rung in ladder.rungs())]:
        assert case.accept <= set(PROBLEMS), case.name


def test_names_are_unique_and_twins_exist() -> None:
    for cases in (CASES, held_out.CASES):
        names = {case.name for case in cases}
        assert len(names) == len(cases)
        assert {case.twin for case in cases if case.twin} <= names


def test_twin_equal_to_the_healthy_one_is_refused() -> None:
    family = Family("f", FAMILIES[0].recipe, 0.9, {"depth": 3}, (Sick("vanishing_gradient", "depth", 3),))
    with pytest.raises(ValueError, match="healthy value"):
        family.cases()


@pytest.mark.slow
def test_training_is_the_same_for_the_same_seed() -> None:
    from .case import finish, start

    case = next(case for case in CASES if case.name == "LSTM 6 steps, Adam, first symbol, rate / rate=10.0")
    assert finish(start(case, 5)) == finish(start(case, 5))
