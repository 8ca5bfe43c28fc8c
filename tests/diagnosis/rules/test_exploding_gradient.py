"""Growth of δ along depth is found with its cause; level and converged profiles, norms and the loss's scale are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.exploding_gradient import exploding_gradient
from isometry.network.architecture import Layer
from tests.diagnosis.random_nets import random_net
from tests.runs import make_run

FLAT_LOSS = {"loss": np.full(40, 2.3)}


def test_weights_far_too_large_are_found():
    (finding,) = exploding_gradient(random_net("relu", sigma=8.0, scalars=FLAT_LOSS))
    assert finding.severity == Severity.HARMS
    assert "weights too large" in finding.summary
    assert finding.causes[0].name == "weight scale"
    assert finding.layers[0] == "fc1"


def test_a_loss_that_left_the_numbers_stops():
    (finding,) = exploding_gradient(random_net("relu", sigma=8.0, scalars={"loss": [9.0] * 20 + [np.inf]}))
    assert finding.severity == Severity.STOPS


def test_causes_that_work_against_one_another_are_told_side_by_side():
    (finding,) = exploding_gradient(random_net("tanh", sigma=6.0, depth=12))
    assert "saturation of tanh" in finding.summary and "weight scale" in finding.summary


@pytest.mark.parametrize(("activation", "sigma"), [("relu", 2**0.5), ("tanh", 1.5), ("none", 1.0), ("sigmoid", 4.0)])
def test_ordinary_draws_are_silent(activation, sigma):
    assert not exploding_gradient(random_net(activation, sigma=sigma, width=128))


@settings(max_examples=settings().max_examples // 8)
@given(factor=st.sampled_from([1e-12, 1e6]), sigma=st.floats(1.0, 8.0))
def test_multiplying_the_loss_changes_nothing(factor, sigma):
    plain = exploding_gradient(random_net("relu", sigma=sigma, recorded=2))
    scaled = exploding_gradient(random_net("relu", sigma=sigma, recorded=2, loss_factor=factor))
    assert [(f.severity, f.summary) for f in plain] == [(f.severity, f.summary) for f in scaled]


def test_a_small_embedding_before_a_norm_is_no_explosion():
    layers = [
        Layer("embed", "embedding", "Embedding", norm="norm", inputs=("",)),
        Layer("norm", "norm", "LayerNorm", inputs=("embed",)),
        Layer("fc1", "linear", "Linear", fan_in=8, inputs=("norm",)),
        Layer("fc2", "linear", "Linear", fan_in=8, inputs=("fc1",)),
    ]
    assert not exploding_gradient(make_run(layers=layers, delta_rms=[500.0, 1.0, 1.0, 1.0], delta_count=64))


def test_growth_that_goes_away_is_a_note():
    early, level = 4.0 ** np.arange(8)[::-1], np.ones(8)
    (finding,) = exploding_gradient(make_run(delta_rms=[early] * 8 + [level] * 24, delta_count=64))
    assert finding.severity == Severity.NOTE
    assert finding.summary.startswith("At first")
