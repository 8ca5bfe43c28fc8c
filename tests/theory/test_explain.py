import json
import math

import numpy as np
import pytest

from isometry.network.nonlinearity import FUNCTIONS
from isometry.theory import HiddenLayer, Phase, explain, signal_profile, steady_critical_point

TORCH = math.sqrt(1 / 3)


def stack(activation, sigma_w, sigma_b=0.0, *, layers=10, normalised=False, **fields):
    return [HiddenLayer(activation, sigma_w, sigma_b, 64, "linear", normalised, **fields)] * layers


def explained(*args, **fields):
    found = explain(stack(*args, **fields))
    assert found is not None
    return found


def test_sigmoid_loses_what_its_profile_loses():
    found = explained("sigmoid", 1.0, layers=11)
    assert found.decades == pytest.approx(-6.9466, abs=5e-5)
    assert (found.activation, found.depth, found.phase) == ("sigmoid", 11, Phase.ORDERED)
    assert found.decades_per_layer == pytest.approx(0.5 * math.log10(found.chi))
    assert found.critical_sigma_w**2 == pytest.approx(103.0, abs=0.05)
    assert found.critical_q == pytest.approx(45.6, abs=0.05)
    assert found.words == (
        "sigmoid with σ_w = 1.00 has χ₁ = 0.056: δ loses 0.63 decades a layer, and width does not help.",
        "Its critical σ_w is 10.15, where q* = 45.6: deep in saturation; another φ is the better change.",
        "The likeness of two inputs lasts ξ_c = 0.35 layers; networks train to about six times that depth, 2 layers, "
        "and this one has 11.",
    )


def test_tanh_at_its_critical_point():
    found = explained("tanh", math.sqrt(1.76095464), math.sqrt(0.05))
    assert found.phase is Phase.CRITICAL
    assert (found.q, found.chi) == pytest.approx((0.570048, 1.0), abs=5e-7)
    assert found.trainable_depth == math.inf


@pytest.mark.parametrize(("sigma_w", "phase"), [(1.0, Phase.ORDERED), (1.7, Phase.CHAOTIC)])
def test_depth_that_trains_is_six_correlation_scales(sigma_w, phase):
    found = explained("tanh", sigma_w, 0.3)
    assert found.phase is phase
    assert found.trainable_depth == pytest.approx(6 * found.depth_scales.correlation)
    assert any("networks train to" in words for words in found.words)


def test_slow_approach_is_told_with_the_gradient():
    """Tanh with σ_w = 1 loses 0.573 decades over ten layers, although χ at its fixed point is 1."""
    found = explained("tanh", 1.0)
    assert found.q == 0
    assert found.words == ("tanh with σ_w = 1.00: δ loses 0.57 decades over 10 layers, the way of q to 0 included.",)


@pytest.mark.parametrize(
    ("sigma_w", "phase", "decades"),
    [(1.0, Phase.ORDERED, -0.1505), (math.sqrt(2), Phase.CRITICAL, 0.0), (2.0, Phase.CHAOTIC, 0.1505)],
)
def test_relu_has_a_rate_but_no_fixed_point(sigma_w, phase, decades):
    found = explained("relu", sigma_w)
    assert math.isnan(found.q)
    assert found.phase is phase
    assert found.decades_per_layer == pytest.approx(decades, abs=5e-5)
    assert found.decades == pytest.approx(10 * found.decades_per_layer, abs=1e-12)
    assert found.critical_sigma_w == pytest.approx(math.sqrt(2))
    assert found.drift == pytest.approx(1)


def test_biases_give_relu_a_fixed_point():
    found = explained("relu", TORCH, 0.07)
    assert found.q == pytest.approx(0.07**2 / (1 - 1 / 6))
    assert found.decades_per_layer == pytest.approx(-0.389, abs=5e-4)


def test_drawn_weights_of_a_critical_size_are_critical():
    assert explained("relu", 1.41, layers=5).phase is Phase.CRITICAL
    assert explained("relu", 1.41, layers=152).phase is Phase.ORDERED


def test_selu_explodes_a_little():
    found = explained("selu", 1.0)
    assert found.chi == pytest.approx(1.071575, abs=5e-7)
    assert found.decades_per_layer == pytest.approx(0.0150, abs=5e-5)


@pytest.mark.parametrize(("activation", "sigma_w"), [("gelu", 1.533530), ("silu", 1.676532), ("squared_relu", 0.9)])
def test_nets_whose_sizes_drift_apart_are_told(activation, sigma_w):
    found = explained(activation, sigma_w)
    assert found.drift > 1.1
    assert "quote quantiles" in found.words[-1]


@pytest.mark.parametrize(("activation", "sigma_w"), [("relu", 2.0), ("tanh", 3.0), ("selu", 1.0), ("gelu", TORCH)])
def test_nets_whose_sizes_do_not_drift_apart_are_not(activation, sigma_w):
    found = explained(activation, sigma_w, 0.1, layers=20)
    assert not any("quantiles" in words for words in found.words)


def test_forward_gain_of_gelu_over_fifty_layers():
    assert explained("gelu", 1.533530, layers=50).decades == pytest.approx(1.87, abs=0.005)


@pytest.mark.parametrize(
    ("activation", "norm", "after", "rate"),
    [
        ("relu", "batch", False, math.pi / (math.pi - 1)),
        ("tanh", "batch", False, 1.1778),
        ("sigmoid", "batch", False, 1.0336),
        ("relu", "layer", False, 1.0),
        ("gelu", "layer", False, 1.072),
        ("sigmoid", "layer", False, 0.153),
        ("sigmoid", "layer", True, 1.0336),
    ],
)
def test_norm_layers_have_rates_of_their_own(activation, norm, after, rate):
    found = explained(activation, 1.0, normalised=not after, norm=norm, after=after)
    assert found.chi == pytest.approx(rate, abs=5e-4)
    assert found.decades == pytest.approx(10 * found.decades_per_layer)
    assert found.words[0].startswith(f"{norm} norm {'after' if after else 'before'} {activation} has χ₁")


def test_norm_before_sigmoid_is_told_to_stand_on_the_wrong_side():
    found = explained("sigmoid", 1.0, normalised=True, norm="layer")
    assert found.words == (
        "layer norm before sigmoid has χ₁ = 0.15, whatever the weights: δ loses 0.41 decades a layer towards the "
        "input, 4.08 over 10 layers.",
        "Behind sigmoid the same norm would leave +0.01 decades a layer.",
    )


def test_batch_norm_without_skips_explodes():
    found = explained("relu", 1.0, normalised=True, norm="batch", layers=50)
    assert found.phase is Phase.CHAOTIC
    assert found.decades == pytest.approx(4.2, abs=0.05)
    assert found.words[1] == "Skip connections would keep that to about ½ log10 (depth + 1) = 0.85 decades in all."


def test_norm_behind_small_signals_finds_them_straight():
    """With z near 0 φ is straight, and the norm makes up for its slope exactly."""
    assert explained("tanh", 1e-3, after=True, norm="layer").chi == pytest.approx(1, abs=1e-5)


def test_what_most_layers_are_is_explained():
    layers = [*stack("tanh", 1.0, 0.2, layers=3), *stack("relu", 1.2, layers=5), *stack(None, 0.5, layers=9)]
    found = explain(layers)
    assert found is not None
    assert (found.activation, found.depth) == ("relu", 5)


def test_sigmas_are_averaged_as_variances():
    found = explain([*stack("tanh", 1.0, 0.0, layers=1), *stack("tanh", 2.0, 0.4, layers=1)])
    assert found is not None
    assert (found.sigma_w, found.sigma_b) == pytest.approx((math.sqrt(2.5), math.sqrt(0.08)))


@pytest.mark.parametrize(
    "layers",
    [
        [],
        stack("tanh", 1.0, layers=1),
        stack(None, 1.0),
        stack("rrelu", 1.0),
        stack("relu", 1.0, residual=True),
        stack("relu", 1.0, normalised=True),
        stack("relu", 1.0, normalised=True, norm="group"),
        [*stack("relu", 1.0, layers=2), *stack("relu", 1.0, residual=True)],
        [HiddenLayer("tanh", 1.0, 0.0, 64, "recurrent", normalised=False)] * 4,
        stack("tanh", math.nan),
        stack("tanh", math.inf),
        stack("tanh", 1e200),
        stack("tanh", 1.0, math.nan),
        stack("tanh", -1.0, math.inf),
    ],
)
def test_where_theory_says_nothing_nothing_is_said(layers):
    assert explain(layers) is None


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize(
    ("sigma_w", "sigma_b"), [(0.0, 0.0), (0.0, 0.1), (1e-8, 0.0), (1.0, 0.0), (1.7, 0.4), (30.0, 0.0)]
)
def test_no_input_is_too_odd(activation, sigma_w, sigma_b):
    found = explain(stack(activation, sigma_w, sigma_b, layers=3))
    if found is None:
        return
    assert 1 <= len(found.words) <= 4
    assert not any("nan" in words or "inf" in words for words in found.words)
    with np.errstate(all="ignore"):
        assert found.decades == pytest.approx(signal_profile(activation, sigma_w, sigma_b, 4).backward[0])
    json.dumps(found.to_dict())


def test_absurd_weights_are_no_error():
    assert explained("tanh", 1e6).phase is Phase.CHAOTIC
    assert math.isnan(explained("sin", 64.0).trainable_depth)


def test_numbers_are_plain():
    told = explained("sigmoid", 1.0).to_dict()
    assert told["phase"] == "ordered"
    assert set(told["depth_scales"]) == {"length", "correlation", "gradient"}
    assert isinstance(told["words"], list)


def test_critical_points_that_q_leaves_are_not_steady():
    assert steady_critical_point("gelu", 0.0) is None
    assert steady_critical_point("softplus", 0.5) is None
    found = steady_critical_point("gelu", 0.6)
    assert found is not None
    assert found.chi_q < 1
