"""Draws that let both signals collapse or blow up evenly are found; the slope's own fall and good draws are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.poor_initialization import poor_initialization
from tests.diagnosis.random_nets import random_net

FLAT = {"loss": np.full(100, 2.3)}


def test_an_even_collapse_of_both_signals_is_found():
    (finding,) = poor_initialization(random_net("relu", sigma=0.3, scalars=FLAT))
    assert finding.severity == Severity.HARMS
    assert "too small" in finding.summary
    assert "σ_w is 0.3" in finding.summary and "1.4 keeps the signal" in finding.summary


def test_a_draw_of_unit_variance_blows_up():
    (finding,) = poor_initialization(random_net("relu", sigma=8.0, scalars=FLAT))
    assert "too large" in finding.summary


@pytest.mark.parametrize("seed", range(3))
def test_weights_that_are_all_positive_blow_up_by_their_mean(seed):
    (finding,) = poor_initialization(random_net("relu", sigma=4.6, mean=32.0, scalars=FLAT, seed=seed))
    assert "their mean times fan-in is 32" in finding.summary
    assert finding.causes[0].decades == pytest.approx(9 * np.log10(32 / 2**0.5), rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_a_mean_that_is_chance_does_not_count(seed):
    run = random_net("none", sigma=16.0, width=3, depth=20, scalars=FLAT, seed=seed)
    scales = run.history["weight", "rms"][0, 1:] * np.sqrt(3)
    (finding,) = poor_initialization(run)
    assert finding.causes[0].decades == pytest.approx(np.log10(scales).sum(), rel=1e-6)


def test_one_layer_drawn_wrong_is_named():
    sigmas = [2**0.5] * 10
    sigmas[4] = 1e-4
    (finding,) = poor_initialization(random_net("relu", sigma=sigmas, scalars=FLAT))
    assert "most so in fc5" in finding.causes[0].words


def test_sigmoid_with_standard_weights_is_another_disease():
    assert not poor_initialization(random_net("sigmoid", depth=12, scalars=FLAT))


@pytest.mark.parametrize(("activation", "sigma"), [("relu", 2**0.5), ("tanh", 1.0), ("tanh", 5 / 3), ("none", 1.0)])
def test_critical_draws_are_silent(activation, sigma):
    assert not poor_initialization(random_net(activation, sigma=sigma, depth=20, width=128))


def test_a_net_that_repairs_itself_has_a_note():
    (finding,) = poor_initialization(random_net("relu", sigma=0.4, recorded=20, drift=1.0))
    assert finding.severity == Severity.NOTE


@settings(max_examples=settings().max_examples // 8)
@given(factor=st.sampled_from([1e-12, 1e6]), sigma=st.floats(0.2, 8.0))
def test_multiplying_the_loss_changes_nothing(factor, sigma):
    plain = poor_initialization(random_net("relu", sigma=sigma, recorded=2))
    scaled = poor_initialization(random_net("relu", sigma=sigma, recorded=2, loss_factor=factor))
    assert [(f.severity, f.summary) for f in plain] == [(f.severity, f.summary) for f in scaled]
