import math

import pytest

from isometry import IsometryError
from isometry.theory import (
    Phase,
    chi,
    chi_q,
    critical_point,
    depth_scale,
    doubly_critical_point,
    fixed_point,
    phase,
    signal_profile,
)


@pytest.mark.parametrize(
    ("bias_variance", "weight_variance", "digits"),
    [(0.05, 1.76095464, 5e-9), (0.01, 1.424205, 5e-7), (0.3, 2.505127, 5e-7), (0.0, 1.0, 1e-12)],
)
def test_critical_weights_of_tanh(bias_variance, weight_variance, digits):
    found = critical_point("tanh", sigma_b=math.sqrt(bias_variance))
    assert found.sigma_w**2 == pytest.approx(weight_variance, abs=digits)


def test_critical_q_of_tanh():
    assert critical_point("tanh", sigma_b=math.sqrt(0.05)).q == pytest.approx(0.570048, abs=5e-7)


def test_without_biases_the_critical_slope_at_zero_decides():
    assert critical_point("erf", sigma_b=0.0).sigma_w ** 2 == pytest.approx(math.pi / 4, rel=1e-12)
    assert critical_point("relu", sigma_b=0.0).sigma_w ** 2 == pytest.approx(2, rel=1e-12)
    assert critical_point("leaky_relu", sigma_b=0.0).sigma_w ** 2 == pytest.approx(2 / (1 + 0.01**2), rel=1e-12)
    assert critical_point("hardtanh", sigma_b=0.0).sigma_w == pytest.approx(1.0, rel=1e-12)


def test_sigmoid_is_critical_only_deep_in_saturation():
    found = critical_point("sigmoid", sigma_b=0.0)
    assert found.sigma_w**2 == pytest.approx(103.0, abs=0.05)
    assert found.q == pytest.approx(45.6, abs=0.05)


@pytest.mark.parametrize("activation", ["tanh", "erf", "hardtanh", "softsign", "relu", "selu", "elu", "sin", "sigmoid"])
@pytest.mark.parametrize("sigma_b", [0.0, 0.5])
def test_chi_is_one_at_the_critical_point(activation, sigma_b):
    found = critical_point(activation, sigma_b=sigma_b)
    assert found.chi_q <= 1 + 1e-12
    assert chi(activation, found.sigma_w, sigma_b) == pytest.approx(1, abs=1e-10)
    assert fixed_point(activation, found.sigma_w, sigma_b) == pytest.approx(found.q, rel=1e-9, abs=1e-12)
    assert phase(activation, found.sigma_w, sigma_b) is Phase.CRITICAL
    if sigma_b > 0:
        assert phase(activation, 0.9 * found.sigma_w, sigma_b) is Phase.ORDERED
        assert phase(activation, 1.1 * found.sigma_w, sigma_b) is Phase.CHAOTIC


def test_an_unstable_critical_point_says_so():
    assert critical_point("gelu", sigma_b=0.2).chi_q > 1 > critical_point("gelu", sigma_b=0.6).chi_q


@pytest.mark.parametrize(("activation", "sigma_b"), [("softplus", 0.5), ("squared_relu", 0.0)])
def test_what_has_no_critical_point_says_so(activation, sigma_b):
    with pytest.raises(IsometryError, match=f"{activation} has no critical point"):
        critical_point(activation, sigma_b=sigma_b)


@pytest.mark.parametrize(
    ("activation", "weight_variance", "bias_variance", "q"),
    [
        ("gelu", 1.983058, 0.172922, 3.561553),
        ("silu", 1.988005, 0.555143, 14.320174),
        ("mish", 2.013524, 0.094522, 1.670169),
        ("hardswish", 1.973290, 0.507146, 4.803856),
    ],
)
def test_doubly_critical_points(activation, weight_variance, bias_variance, q):
    """Sources: Roberts, Yaida & Hanin 2022 for GELU and SiLU."""
    found = doubly_critical_point(activation)
    assert found.sigma_w**2 == pytest.approx(weight_variance, abs=6e-7)
    assert found.sigma_b**2 == pytest.approx(bias_variance, abs=6e-7)
    assert found.q == pytest.approx(q, abs=6e-7)
    line = critical_point(activation, sigma_b=found.sigma_b)
    assert line.q == pytest.approx(found.q, rel=1e-7)
    assert (line.chi_q, chi(activation, found.sigma_w, 0.0, found.q)) == pytest.approx((1, 1), abs=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", "identity", "squared_relu"])
def test_other_units_have_no_doubly_critical_point(activation):
    with pytest.raises(IsometryError, match=f"{activation} has no point"):
        doubly_critical_point(activation)


def test_depth_scales_of_an_ordered_net():
    scale = depth_scale("tanh", 1.0, 0.3)
    q = fixed_point("tanh", 1.0, 0.3)
    assert scale.gradient == pytest.approx(-1 / math.log(chi("tanh", 1.0, 0.3)), rel=1e-12)
    assert scale.correlation == pytest.approx(scale.gradient, rel=1e-9)  # C′(1) = χ
    assert scale.length == pytest.approx(-1 / math.log(chi_q("tanh", 1.0, 0.3, q)), rel=1e-12)
    last_layers = signal_profile("tanh", 1.0, 0.3, 101).backward[30]  # q has settled by then
    assert last_layers == pytest.approx(-70 / (2 * math.log(10) * scale.gradient), rel=1e-6)


def test_depth_scales_diverge_on_the_critical_line():
    sigma_b = math.sqrt(0.05)
    critical = critical_point("tanh", sigma_b=sigma_b).sigma_w
    near = [depth_scale("tanh", critical * factor, sigma_b) for factor in (0.9, 0.99, 0.999, 1.001, 1.01, 1.1)]
    below, above = near[:3], near[3:]
    for name in ("correlation", "gradient"):
        assert sorted(getattr(scale, name) for scale in below) == [getattr(scale, name) for scale in below]
        assert sorted(getattr(scale, name) for scale in above) == [getattr(scale, name) for scale in reversed(above)]
        assert getattr(depth_scale("tanh", critical, sigma_b), name) == math.inf


def test_relu_forgets_no_faster_than_a_power_of_depth():
    assert depth_scale("relu", math.sqrt(2), 0.0).correlation == math.inf
    assert depth_scale("relu", 1.0, 0.0).gradient == pytest.approx(1 / math.log(2))
