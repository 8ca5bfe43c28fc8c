"""Units that are never active count, once enough data was seen; sparsity, brief silence and few samples do not."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.dead_units import dead_units
from isometry.errors import NotRecorded
from tests.runs import make_run

FLAT = {"loss": np.full(100, 2.0)}
FALLING = {"loss": np.linspace(2.0, 0.1, 100)}


def run_of(dead, *, units=64.0, seen=1000.0, loss=None):
    dead = np.asarray(dead, dtype=float)
    return make_run(
        activation_dead=dead,
        activation_units=np.broadcast_to(units, dead.shape),
        activation_seen=np.broadcast_to(seen, dead.shape),
        scalars=loss or FLAT,
    )


def test_a_layer_without_living_units_stops_the_signal():
    (finding,) = dead_units(run_of([[0.0, 64.0, 3.0]] * 8))
    assert finding.severity == Severity.STOPS
    assert finding.layers == ("fc2",)
    assert "100%" in finding.summary
    assert "no gradient comes through" in finding.consequence


def test_most_units_dead_from_the_start_harm():
    (finding,) = dead_units(run_of([[60.0, 0.0]] * 8))
    assert finding.severity == Severity.HARMS
    assert finding.causes[0].name == "dead from the start"


def test_death_in_training_is_dated():
    (finding,) = dead_units(run_of([[0.0]] * 5 + [[60.0]] * 20))
    assert finding.first_step == 5
    assert finding.causes[0].name == "died in training"


def test_a_few_dead_units_are_silent():
    assert not dead_units(run_of([[5.0, 9.0]] * 8))


def test_dead_units_in_a_net_that_learns_are_a_note():
    assert [f.severity for f in dead_units(run_of([[40.0]] * 8, loss=FALLING))] == [Severity.NOTE]


def test_units_that_wake_up_again_are_not_dead():
    assert not dead_units(run_of([[60.0], [60.0]] * 4 + [[60.0], [2.0]] * 4))


def test_too_little_data_proves_nothing():
    with pytest.raises(NotRecorded, match="128 samples"):
        dead_units(run_of([[64.0]] * 8, seen=100.0))


def test_layers_without_a_rectifier_are_left_out():
    (finding,) = dead_units(run_of([[np.nan, 64.0]] * 8, units=[np.nan, 64.0]))
    assert finding.layers == ("fc2",)


def test_a_network_without_rectifiers_is_not_checked():
    with pytest.raises(NotRecorded, match="no rectifier"):
        dead_units(make_run(delta_rms=[1.0]))


def all_off(samples, *, steps=4):
    shape = (steps, 1)
    return make_run(
        activation_dead=np.full(shape, np.nan),
        activation_units=np.full(shape, 64.0),
        activation_seen=np.zeros(shape),
        slope_zeros=np.full(shape, 64.0 * samples),
        slope_count=np.full(shape, 64.0 * samples),
        scalars=FLAT,
    )


def test_a_layer_that_is_off_needs_no_window():
    (finding,) = dead_units(all_off(200))
    assert finding.severity == Severity.STOPS


def test_a_layer_that_is_off_on_a_few_samples_is_not_dead():
    with pytest.raises(NotRecorded):
        dead_units(all_off(1))


def test_dead_layer_of_a_network_that_learns_is_noted():
    (finding,) = dead_units(run_of([[0.0, 64.0, 3.0]] * 8, loss=FALLING))
    assert finding.severity == Severity.NOTE
