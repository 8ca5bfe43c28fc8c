import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.theory import ACTIVATIONS, bivariate_expectation, expectation

few_examples = settings(max_examples=12)  # each takes some 10 ms
VARIANCES = (1e-6, 0.3, 1.0, 45.6, 1e4)
PHI, SLOPE = {}, {}
for _name, _activation in ACTIVATIONS.items():
    PHI[_name], SLOPE[_name] = _activation.function, _activation.slope


def dense_mean(function, q, kinks=()):
    """E f(√q x) on a very fine even grid between kinks: slow, plain and unlike the rule under test."""
    ends = sorted({-12.0, 12.0, *(k / math.sqrt(q) for k in kinks if abs(k) < 12 * math.sqrt(q))})
    places, weights = np.polynomial.legendre.leggauss(9)
    total = 0.0
    for low, high in itertools.pairwise(ends):
        edges = np.linspace(low, high, 801)
        half = np.diff(edges)[:, None] / 2
        x = edges[:-1, None] + half * (1 + places)
        values = function(math.sqrt(q) * x) * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        total += float(np.sum(half * weights * values))
    return total


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("q", [0.01, 1.0, 20.0])
def test_second_moments_are_right_to_ten_digits(name, q):
    kinks = ACTIVATIONS[name].kinks
    for function in (lambda u: PHI[name](u) ** 2, lambda u: SLOPE[name](u) ** 2):
        assert expectation(function, q, kinks=kinks) == pytest.approx(dense_mean(function, q, kinks), rel=1e-11)


@pytest.mark.parametrize("q", VARIANCES)
def test_closed_forms_of_second_moments_are_met(q):
    def second(name, power_of):
        return expectation(lambda u: power_of[name](u) ** 2, q, kinks=ACTIVATIONS[name].kinks)

    # theory: Williams 1997 for erf; sine by its characteristic function.
    assert second("erf", PHI) == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-12)
    assert second("erf", SLOPE) == pytest.approx(4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-12)
    assert second("sin", PHI) == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-12)
    assert second("relu", PHI) == pytest.approx(q / 2, rel=1e-13)
    assert second("relu", SLOPE) == pytest.approx(0.5, rel=1e-13)
    assert second("squared_relu", PHI) == pytest.approx(1.5 * q * q, rel=1e-13)
    assert second("hardtanh", SLOPE) == pytest.approx(math.erf(1 / math.sqrt(2 * q)), rel=1e-12)


def test_jumps_at_unknown_places_are_closed_in():
    share = expectation(lambda u: np.where(u > 0.7310585, 1.0, 0.0))
    assert share == pytest.approx(0.5 * math.erfc(0.7310585 / math.sqrt(2)), abs=1e-13)


def test_narrow_features_are_resolved():
    # E exp(−(u − 2)² / 2w²) = w / √(1 + w²) exp(−2 / (1 + w²))
    w = 0.01
    found = expectation(lambda u: np.exp(-((u - 2) ** 2) / (2 * w * w)))
    assert found == pytest.approx(w / math.sqrt(1 + w * w) * math.exp(-2 / (1 + w * w)), rel=1e-10)


def test_zero_variance_is_the_value_at_zero():
    assert expectation(np.cos, 0.0) == 1.0


def relu_product(c, negative=0.0):
    """E φ(u) φ(v) of a leaky ReLU at q = 1. Sources: Cho & Saul 2009, equation 6 with n = 1."""
    kernel = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / (2 * math.pi)
    mirrored = (math.sqrt(1 - c * c) - c * (math.pi - math.acos(-c))) / (2 * math.pi)
    return (1 + negative**2) * kernel - 2 * negative * mirrored


@few_examples
@given(c=st.floats(-1, 1), log_q=st.floats(-6, 6))
def test_product_of_relus_has_its_closed_form(c, log_q):
    q = 10**log_q
    found = bivariate_expectation(PHI["relu"], q, c, kinks=[0.0]) / q
    assert found == pytest.approx(relu_product(c), abs=1e-13)
    leaky = bivariate_expectation(PHI["leaky_relu"], q, c, kinks=[0.0]) / q
    assert leaky == pytest.approx(relu_product(c, 0.01), abs=1e-13)


@few_examples
@given(c=st.floats(-1, 1), q=st.floats(1e-4, 100))
def test_products_of_erf_and_sine_have_their_closed_forms(c, q):
    assert bivariate_expectation(PHI["erf"], q, c) == pytest.approx(
        2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)), abs=1e-12
    )
    sines = (math.exp(-q * (1 - c)) - math.exp(-q * (1 + c))) / 2
    assert bivariate_expectation(PHI["sin"], q, c) == pytest.approx(sines, abs=1e-12)


@pytest.mark.parametrize("c", [-1.0, -0.6, 0.0, 0.3, 1 - 1e-6, 1.0])
@pytest.mark.parametrize(("q", "threshold"), [(0.03, -0.2), (1.0, 1.3), (4000.0, -0.7)])
def test_product_of_steps_agrees_with_its_derivative_in_c(c, q, threshold):
    """d/dc P(u > k, v > k) is the bivariate density at (k, k): Plackett 1954. Integrated from −1 in θ, c = sin θ."""
    k = threshold / math.sqrt(q)
    theta = np.linspace(-math.pi / 2, math.asin(c), 4001)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.exp(-k * k / (1 + np.sin(theta))) / (2 * math.pi)
    expected = max(0.0, math.erfc(k / math.sqrt(2)) - 1) + np.trapezoid(np.nan_to_num(density), theta)
    found = bivariate_expectation(lambda u: np.where(u > threshold, 1.0, 0.0), q, c, kinks=[threshold])
    assert found == pytest.approx(expected, abs=1e-7)  # of the trapezoids


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_products_agree_with_hermite_series(name):
    """E φ(u) φ(v) = Σ a_k² c^k with Hermite coefficients a_k: only means over one variable."""
    q, kinks = 1.7, ACTIVATIONS[name].kinks
    coefficients = []
    for k in range(32):
        hermite = np.polynomial.hermite_e.HermiteE.basis(k)
        scale = 1 / math.sqrt(math.factorial(k))
        coefficients.append(
            scale * expectation(lambda u, h=hermite: PHI[name](u) * h(u / math.sqrt(q)), q, kinks=kinks)
        )
    for c in (-0.4, 0.3):
        series = sum(a * a * c**k for k, a in enumerate(coefficients))
        assert bivariate_expectation(PHI[name], q, c, kinks=kinks) == pytest.approx(series, rel=1e-11, abs=1e-13)
