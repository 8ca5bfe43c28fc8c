import math

import numpy as np
import pytest

from isometry import IsometryError
from isometry.theory import (
    dead_probability,
    sample_profile,
    sample_signals,
    signal_profile,
    width_correction,
)
from tests.theory.simulated import simulated_profile


def standard_scores(widths, activation, sigma_w, sigma_b, *, nets, seed, weights="gaussian"):
    """How many standard errors the mean is off at every layer but the last, and the ratio of 80 % ranges."""
    full = simulated_profile(widths, activation, sigma_w, sigma_b, nets=nets, seed=seed, weights=weights)[:, :-1]
    drawn = sample_profile(widths, activation, sigma_w, sigma_b, nets=4 * nets, seed=seed, weights=weights)[:, :-1]
    alive, kept = full[np.isfinite(full).all(axis=1)], drawn[np.isfinite(drawn).all(axis=1)]
    ranges = [np.subtract(*np.quantile(part, [0.9, 0.1], axis=0)) for part in (kept, alive)]
    error = np.sqrt(alive.var(axis=0) / len(alive) + kept.var(axis=0) / len(kept))
    return (kept.mean(axis=0) - alive.mean(axis=0)) / error, ranges[0] / ranges[1]


INITIALISATIONS = [
    ("identity", 1.0, 0.0),
    ("relu", math.sqrt(2), 0.0),
    ("relu", math.sqrt(1 / 3), 0.2),
    ("tanh", 1.5, 0.2),
    ("sigmoid", 1.0, 0.0),
    ("selu", 1.0, 0.0),
    ("gelu", 1.4, 0.3),
    ("sin", 1.2, 0.1),
]


@pytest.mark.parametrize(("activation", "sigma_w", "sigma_b"), INITIALISATIONS)
@pytest.mark.parametrize("widths", [[5] * 11, [16, 4, 8, 32, 8]], ids=["5 wide", "of many widths"])
def test_sampler_draws_from_the_law_of_full_networks(widths, activation, sigma_w, sigma_b):
    scores, spreads = standard_scores(widths, activation, sigma_w, sigma_b, nets=1000, seed=3)
    assert np.abs(scores).max() < 4.0  # layers are correlated; one in 16,000 for one of them
    np.testing.assert_allclose(spreads, 1, atol=0.15)  # 1,000 nets: standard error 0.04


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "sigma_w", "sigma_b"), INITIALISATIONS)
@pytest.mark.parametrize(("width", "layers", "nets"), [(5, 50, 1000), (64, 10, 300), (64, 50, 60)])
def test_sampler_draws_from_the_law_of_deep_full_networks(width, layers, nets, activation, sigma_w, sigma_b):
    scores, _ = standard_scores([width] * (layers + 1), activation, sigma_w, sigma_b, nets=nets, seed=4)
    assert np.abs(scores).max() < 4.5


@pytest.mark.parametrize(("activation", "sigma_w"), [("relu", math.sqrt(2)), ("tanh", 1.3), ("identity", 1.0)])
def test_sampler_of_orthogonal_weights_draws_from_the_law_of_full_networks(activation, sigma_w):
    scores, spreads = standard_scores([6] * 6, activation, sigma_w, 0.1, nets=2000, seed=5, weights="orthogonal")
    if activation == "identity":
        return  # nothing varies; the next test
    assert np.abs(scores).max() < 4.0
    np.testing.assert_allclose(spreads, 1, atol=0.1)


def test_orthogonal_linear_net_is_an_isometry():
    drawn = sample_profile([64] * 153, "identity", 1.0, 0.0, nets=20, seed=0, weights="orthogonal")
    np.testing.assert_allclose(drawn, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "orthogonal", "gaussian"),
    [("relu", math.sqrt(2), 0.152, 0.198), ("sigmoid", 1.0, 0.022, 0.125)],
)
def test_orthogonal_weights_scatter_less(activation, sigma_w, orthogonal, gaussian):
    for weights, expected in (("orthogonal", orthogonal), ("gaussian", gaussian)):
        drawn = sample_profile([64] * 11, activation, sigma_w, 0.0, nets=1500, seed=1, weights=weights)
        assert drawn[:, 0].std() == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(("layers", "expected"), [(10, 0.272), (50, 0.796)])
def test_share_of_dead_narrow_relu_nets(layers, expected):
    drawn = sample_signals([5] * (layers + 1), "relu", math.sqrt(2), 0.0, nets=8000, seed=0)
    assert drawn.dead == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 8000))
    assert drawn.dead == pytest.approx(dead_probability([5] * layers), abs=0.02)


def test_sigmoid_nets_of_eleven_layers():
    """Simulated: −6.9877 ± 0.0046, sd 0.129 for uniform Glorot weights; −0.854 ± 0.011, sd 0.307 for N(0, 1) ones."""
    glorot = sample_profile([64] * 12, "sigmoid", 1.0, 0.0, nets=3000, seed=0)[:, 0]
    assert (glorot.mean(), glorot.std()) == pytest.approx((-6.9877, 0.129), abs=0.012)
    plain = sample_profile([64] * 12, "sigmoid", 8.0, 0.0, nets=3000, seed=0)[:, 0]
    assert (plain.mean(), plain.std()) == pytest.approx((-0.854, 0.307), abs=0.03)


@pytest.mark.slow
def test_deep_relu_nets_fall_short_of_mean_field():
    """152 layers of 64: mean field 0, mean −1.324, sd 0.771."""
    drawn = sample_profile([64] * 153, "relu", math.sqrt(2), 0.0, nets=1500, seed=0)[:, 0]
    assert drawn.mean() == pytest.approx(-1.324, abs=4 * 0.771 / math.sqrt(1500))
    assert drawn.std() == pytest.approx(0.771, rel=0.08)


@pytest.mark.slow
def test_gelu_at_its_forward_gain_is_unpredictable():
    drawn = sample_profile([64] * 51, "gelu", 1.533530, 0.0, nets=1500, seed=0)[:, 0]
    assert drawn.std() == pytest.approx(2.25, rel=0.1)
    np.testing.assert_allclose(np.quantile(drawn, [0.05, 0.95]), [-4.5, 2.2], atol=0.4)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_wide_nets_approach_mean_field(activation):
    expected = signal_profile(activation, 1.3, 0.2, 11)
    distances = []
    for width in (6, 40, 400):
        drawn = sample_signals([width] * 11, activation, 1.3, 0.2, nets=200, seed=2)
        distances.append(abs(drawn.backward[:, 0].mean() - expected.backward[0]))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.04
    np.testing.assert_allclose(drawn.forward.mean(axis=0), expected.forward, atol=0.01)


def test_first_order_correction_meets_the_sampler():
    correction = width_correction([256] * 11, "relu", math.sqrt(2), 0.0)
    drawn = sample_profile([256] * 11, "relu", math.sqrt(2), 0.0, nets=1000, seed=0)
    np.testing.assert_allclose(drawn.mean(axis=0), correction.bias, atol=0.015)
    np.testing.assert_allclose(drawn.std(axis=0), correction.deviation, rtol=0.1)


def test_shape_and_reference_are_as_promised():
    drawn = sample_profile([7, 5, 3], "tanh", 1.0, 0.1, nets=11, seed=0)
    assert drawn.shape == (11, 3)
    assert np.all(drawn[:, -1] == 0)


def test_same_seed_gives_the_same_networks():
    draws = [sample_profile([30] * 20, "tanh", 1.0, 0.1, nets=50, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.allclose(draws[0], draws[2])


def test_many_nets_are_drawn_in_parts(monkeypatch):
    monkeypatch.setattr("isometry.theory.sampler.CHUNK", 100)
    drawn = sample_profile([10] * 5, "relu", 1.4, 0.0, nets=17, seed=0)
    assert drawn.shape == (17, 5)
    assert len(np.unique(drawn[:, 0])) > 12  # some are dead


def test_size_of_signals_is_no_matter_to_linear_nets_however_deep():
    drawn = sample_profile([16] * 400, "identity", 0.01, 0.0, nets=4, seed=0)
    assert drawn[:, 0] == pytest.approx(-2.0 * 399, abs=30)  # far below what float64 could hold


@pytest.mark.parametrize(
    "call",
    [
        lambda: sample_profile([], "relu", 1.0, 0.0, nets=1, seed=0),
        lambda: sample_profile([4, 0], "relu", 1.0, 0.0, nets=1, seed=0),
        lambda: sample_profile([4, 2.5], "relu", 1.0, 0.0, nets=1, seed=0),
        lambda: sample_profile([4, 4], "relu", -1.0, 0.0, nets=1, seed=0),
        lambda: sample_profile([4, 4], "relu", 1.0, 0.0, nets=0, seed=0),
    ],
)
def test_impossible_networks_are_refused(call):
    with pytest.raises(IsometryError, match="needed"):
        call()


def test_rectangular_orthogonal_weights_are_refused():
    with pytest.raises(IsometryError, match="equal widths only"):
        sample_profile([4, 8], "relu", 1.0, 0.0, nets=1, seed=0, weights="orthogonal")
