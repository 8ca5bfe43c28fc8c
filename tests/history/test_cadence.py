from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.errors import IsometryError
from isometry.history.cadence import CERTAIN, Cadence


def simulate(cadence, steps, *, step, cost, setup=None, overhead=0.0, alarms=()):
    """Let a training of equal steps pay what it costs; gives the recorded steps."""
    recorded = []
    for number in range(steps):
        if number in alarms:
            cadence.alarm(number)
        wanted = cadence.wants(number)
        price = setup if setup is not None and not recorded else cost
        if wanted:
            recorded.append(number)
        cadence.paid(number, overhead + (price if wanted else 0.0), step, wanted)
    return recorded


@given(st.integers(1, 50), st.integers(1, 300))
def test_every_k_is_exactly_every_kth_whatever_it_costs(k, steps):
    cadence = Cadence(every=k)
    assert simulate(cadence, steps, step=0.001, cost=10.0, alarms=range(0, steps, 7)) == list(range(0, steps, k))


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"every": -3}, {"budget": 0.0}, {"budget": -1.0}, {"budget": float("nan")}]
)
def test_what_means_nothing_is_refused(wrong):
    with pytest.raises(IsometryError, match="needed"):
        Cadence(**wrong)


def test_the_first_steps_are_always_recorded():
    assert simulate(Cadence(budget=1e-9), 1000, step=0.001, cost=100.0) == [0, 1, 2, 3, 8, 32, 128, 512]


def test_asking_changes_nothing():
    cadence = Cadence()
    simulate(cadence, 500, step=0.01, cost=0.001)
    assert [cadence.wants(500) for _ in range(5)] == [cadence.wants(500)] * 5


def test_a_short_training_of_small_steps_has_some_tens_of_recordings_at_5_percent():
    cadence = Cadence(budget=0.05)
    recorded = simulate(cadence, 1120, step=0.002, cost=0.004)
    assert 20 <= len(recorded) <= 60
    assert cadence.share <= 0.05


def test_a_short_training_of_small_steps_has_ten_recordings_at_1_percent():
    cadence = Cadence(budget=0.01)
    recorded = simulate(cadence, 1120, step=0.002, cost=0.004)
    assert len(recorded) >= 10
    assert cadence.spent <= 0.01 * cadence.trained + 0.05
    assert max(recorded) > 1000


def test_a_dear_recording_stays_near_1_percent():
    cadence = Cadence(budget=0.01)
    simulate(cadence, 2000, step=0.020, cost=0.060)
    assert cadence.share <= 0.025


def test_a_cheap_recording_is_made_at_every_step():
    assert simulate(Cadence(), 300, step=0.1, cost=0.0005) == list(range(300))


def test_the_set_up_does_not_blind_a_short_training():
    recorded = simulate(Cadence(budget=0.05), 1120, step=0.002, cost=0.004, setup=0.15)
    assert len([step for step in recorded if step > 500]) >= 3


@given(
    step=st.floats(1e-3, 10),
    relative_cost=st.floats(1e-3, 30),
    relative_setup=st.floats(1, 100),
    budget=st.floats(1e-3, 0.2),
    alarms=st.sets(st.integers(0, 3000), max_size=30),
)
def test_the_cost_is_bounded(step, relative_cost, relative_setup, budget, alarms):
    cadence, cost = Cadence(budget=budget), relative_cost * step
    setup = relative_setup * cost
    simulate(cadence, 3000, step=step, cost=cost, setup=setup, alarms=alarms)
    first = 7 * cost
    on_alarm = 24 * cost
    grace = 0.05
    assert cadence.spent <= budget * cadence.trained + setup + first + on_alarm + grace


@settings(max_examples=settings().max_examples // 3)
@given(relative_cost=st.floats(1e-2, 5), budget=st.floats(5e-3, 0.1))
def test_a_long_training_keeps_to_the_budget(relative_cost, budget):
    cadence = Cadence(budget=budget)
    steps = int(200 * relative_cost / budget)
    simulate(cadence, steps, step=1.0, cost=relative_cost, setup=10 * relative_cost)
    assert cadence.share <= budget * 1.1
    assert cadence.share >= min(budget, relative_cost) * 0.5


@settings(max_examples=settings().max_examples // 3)
@given(relative_cost=st.floats(0.1, 5), budget=st.floats(5e-3, 0.05))
def test_recordings_are_spread_evenly(relative_cost, budget):
    steps = int(100 * relative_cost / budget)
    recorded = simulate(Cadence(budget=budget), steps, step=1.0, cost=relative_cost)
    natural = relative_cost / budget
    late = [step for step in recorded if step > steps / 2 and step not in CERTAIN]
    gaps = [b - a for a, b in pairwise(late)]
    assert min(gaps) >= natural / 2 - 1
    assert max(gaps) <= 3 * natural + 1  # one of the certain steps may take the place of one between


def test_savings_are_not_spent_in_one_burst():
    cadence = Cadence(budget=0.01)
    simulate(cadence, 2000, step=0.1, cost=0.1)
    cadence.paid(2000, 0.0, 500.0, False)  # an evaluation of many minutes between two steps
    burst = []
    for step in range(2001, 2201):
        wanted = cadence.wants(step)
        if wanted:
            burst.append(step)
        cadence.paid(step, 0.1 * wanted, 0.1, wanted)
    assert all(b - a >= 25 for a, b in pairwise(burst))


def test_an_alarm_makes_the_next_steps_dense_and_no_more():
    recorded = simulate(Cadence(), 3000, step=0.1, cost=0.05, alarms=[1000])
    assert set(range(1000, 1009)) <= set(recorded)
    assert len([step for step in recorded if 1000 <= step < 1100]) <= 12


def test_endless_alarms_cannot_exceed_the_budget_by_more_than_a_few():
    cadence = Cadence(budget=0.01)
    simulate(cadence, 3000, step=0.1, cost=0.1, alarms=range(200, 3000))
    assert cadence.spent <= 0.01 * cadence.trained + 25 * 0.1


def test_overhead_of_unrecorded_steps_counts():
    frugal, burdened = Cadence(), Cadence()
    without = simulate(frugal, 5000, step=0.1, cost=0.05)
    burden = simulate(burdened, 5000, step=0.1, cost=0.05, overhead=0.0005)
    assert len(burden) < len(without)
    assert burdened.share <= 0.0105


def test_equal_costs_give_equal_steps():
    runs = [simulate(Cadence(), 2000, step=0.01, cost=0.02, alarms=[500]) for _ in range(2)]
    assert runs[0] == runs[1]


def test_what_is_new_is_recorded_as_a_training_begins():
    cadence = Cadence(budget=0.01)
    simulate(cadence, 1000, step=0.001, cost=0.1)
    cadence.restart(1000)
    assert all(cadence.wants(step) for step in (1000, 1001, 1002, 1003, 1008))


def test_long_trainings_are_looked_at_again_and_again():
    cadence = Cadence(budget=0.01)
    recorded = simulate(cadence, 10_000, step=0.001, cost=0.1)
    assert {128, 512, 2048, 8192} <= set(recorded)


def test_what_a_recorded_step_takes_longer_than_others_is_counted_as_spent():
    blind, seeing = Cadence(), Cadence()
    for number in range(2000):
        for cadence, hidden in ((blind, 0.0), (seeing, 0.03)):
            wanted = cadence.wants(number)
            cadence.paid(number, 0.05 if wanted else 0.0, 0.1 + (hidden if wanted else 0.0), wanted)
    assert seeing.spent == pytest.approx(0.08 * seeing.recorded)
    assert seeing.trained == pytest.approx(0.1 * 2000)
    assert seeing.recorded < blind.recorded


def test_an_evaluation_within_a_recorded_step_is_no_cost_of_watching():
    cadence = Cadence()
    for number in range(2000):
        wanted = cadence.wants(number)
        cadence.paid(number, 0.05 if wanted else 0.0, 100.0 if number in (128, 512) else 0.1, wanted)
    assert cadence.spent <= 0.05 * cadence.recorded * 1.3
