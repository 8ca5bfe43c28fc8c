import math

import numpy as np
import pytest

from isometry import IsometryError
from isometry.theory import ACTIVATIONS, batch_norm_rate, layer_norm_rate, normalised_weight_gain


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("relu", math.pi / (math.pi - 1)), ("tanh", 1.1778), ("gelu", 1.3188), ("silu", 1.2121), ("sigmoid", 1.0336)],
)
def test_batch_norm_without_skips_explodes_at_the_known_rate(activation, expected):
    """Sources: Yang et al. 2019."""
    assert batch_norm_rate(activation) == pytest.approx(expected, abs=5e-5)


def test_rate_of_relu_in_decades():
    assert batch_norm_rate("relu") == pytest.approx(1.466942, abs=5e-7)
    per_layer = 0.5 * math.log10(batch_norm_rate("relu"))
    assert (per_layer, 50 * per_layer, 152 * per_layer) == pytest.approx((0.0832, 4.2, 12.6), abs=0.05)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_batch_norm_rate_is_below_one(activation):
    """The Gaussian Poincaré inequality: Var φ ≤ E φ′²; and smaller batches are worse."""
    rate = batch_norm_rate(activation)
    assert rate >= 1 - 1e-12
    assert batch_norm_rate(activation, 4) > batch_norm_rate(activation, 16) > batch_norm_rate(activation, 1024) > rate


@pytest.mark.parametrize("batch", [4, 5, 8, 32, 1000])
def test_finite_batches_of_linear_nets_have_their_closed_form(batch):
    assert batch_norm_rate("identity", batch) == pytest.approx((batch - 2) / (batch - 3), rel=1e-12)


@pytest.mark.parametrize("batch", [4, 8, 32, 128])
def test_finite_batches_of_relu_nets_have_their_closed_form(batch):
    """On the sphere as for a Gaussian of correlation −1/(B − 1): the products of ReLUs and of steps are known."""
    c = -1 / (batch - 1)
    alike = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / (2 * math.pi)
    both = 0.25 + math.asin(c) / (2 * math.pi)
    trace = 0.5 * (batch - 2 + 1 / batch) + (1 - 1 / batch) * (both - 0.5 + alike)
    expected = trace / (batch - 1) * batch / (batch - 3) / (0.5 - alike)
    assert batch_norm_rate("relu", batch) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("batch", "expected"), [(8, 1.787), (32, 1.523), (64, 1.493), (128, 1.480)])
def test_finite_batches_of_relu_nets_are_near_the_known_values(batch, expected):
    assert batch_norm_rate("relu", batch) == pytest.approx(expected, abs=1.5e-3)  # those were drawn at random


@pytest.mark.parametrize("activation", ["hardtanh", "tanh", "relu6", "hardswish"])
@pytest.mark.parametrize("batch", [4, 12])
def test_finite_batches_agree_with_drawn_ones(activation, batch):
    """One layer: draw normalised batches, send white gradients back, measure both sides."""
    rng, phi, n = np.random.default_rng(0), ACTIVATIONS[activation], 20_000
    z = rng.standard_normal((n, batch))
    z -= z.mean(axis=1, keepdims=True)
    x = z * np.sqrt(batch / np.sum(z * z, axis=1, keepdims=True))
    signal = phi.function(x)
    signal -= signal.mean(axis=1, keepdims=True)
    white = rng.standard_normal((n, batch))
    back = phi.slope(x) * (white - white.mean(axis=1, keepdims=True))
    back -= back.mean(axis=1, keepdims=True) + x * np.mean(back * x, axis=1, keepdims=True)
    forward = np.mean(np.sum(signal**2, axis=1)) / (batch - 1)
    drawn = np.mean(np.sum(back**2, axis=1)) / (batch - 1) / forward * batch / (batch - 3)
    assert batch_norm_rate(activation, batch) == pytest.approx(drawn, rel=0.02)


def test_kinks_are_split_at_in_small_batches():
    bare = batch_norm_rate(lambda z: np.clip(z, -1, 1), 6)
    assert batch_norm_rate("hardtanh", 6) == pytest.approx(bare, rel=1e-9)


@pytest.mark.parametrize(
    ("activation", "expected"), [("relu", 1.0), ("tanh", 1.178), ("gelu", 1.072), ("sigmoid", 0.153)]
)
def test_layer_norm_before_phi_does_not_centre(activation, expected):
    assert layer_norm_rate(activation) == pytest.approx(expected, abs=5e-4)
    assert layer_norm_rate(activation, before=False) == batch_norm_rate(activation)


def test_ten_sigmoid_layers_are_rescued_by_the_norm_after_not_before():
    assert 5 * math.log10(layer_norm_rate("sigmoid")) == pytest.approx(-4.08, abs=0.005)
    assert 5 * math.log10(layer_norm_rate("sigmoid", before=False)) == pytest.approx(+0.07, abs=0.005)


@pytest.mark.parametrize(("activation", "expected"), [("relu", 1.712859), ("gelu", 1.700926), ("silu", 1.787187)])
def test_gains_of_nets_with_centred_weights(activation, expected):
    """Sources: Brock et al. 2021, who publish sampling estimates that are up to 0.06 % off."""
    assert normalised_weight_gain(activation) == pytest.approx(expected, abs=5.1e-7)


def test_batches_without_a_mean_rate_are_refused():
    with pytest.raises(IsometryError, match="at least 4"):
        batch_norm_rate("relu", 3)
    with pytest.raises(IsometryError, match="constant"):
        batch_norm_rate(lambda z: np.ones_like(z))
