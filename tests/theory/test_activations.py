import numpy as np
import pytest

from isometry import IsometryError
from isometry.theory import ACTIVATIONS, Activation, as_activation, chi, gain

NAMES = (
    "identity relu leaky_relu elu selu gelu gelu_tanh silu mish tanh sigmoid erf softplus softsign relu6 hardtanh "
    "hardsigmoid hardswish squared_relu sin celu prelu rrelu quick_gelu logsigmoid"
)


def test_every_promised_name_is_there():
    assert ACTIVATIONS.keys() == set(NAMES.split())


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_slopes_are_derivatives(name):
    z, h = np.linspace(-5, 5, 401) + 1.3e-3, 1e-5
    phi = ACTIVATIONS[name]
    numerical = (phi.function(z + h) - phi.function(z - h)) / (2 * h)
    assert phi.slope(z) == pytest.approx(numerical, abs=1e-8)


def test_random_slopes_count_by_their_mean_square():
    slopes = np.random.default_rng(0).uniform(1 / 8, 1 / 3, 10**6)
    assert gain("rrelu") == pytest.approx(np.sqrt(2 / (1 + np.mean(slopes**2))), rel=1e-4)


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(IsometryError, match=r"'reluu'.*gelu_tanh.*softsign"):
        gain("reluu")


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z / z.sum(),
        lambda z: z[:3],
        lambda z: np.full_like(z, np.nan),
        lambda z: np.random.default_rng().standard_normal(z.shape) * z,
        lambda z: z.detach(),
        3.0,
        None,
    ],
    ids=["mixes elements", "drops elements", "nan", "random", "no array function", "number", "nothing"],
)
def test_what_is_no_elementwise_function_is_refused(function):
    with pytest.raises(IsometryError, match="needed"):
        as_activation(function)


def test_a_slope_of_its_own_is_used():
    straight_through = Activation("sign", np.sign, lambda z: np.where(np.abs(z) < 1, 1.0, 0.0), (-1.0, 0.0, 1.0))
    assert chi(straight_through, 1.0, 0.0, 1.0) == pytest.approx(0.6826894921, abs=1e-9)


def test_a_function_that_overflows_far_out_does_no_harm():
    silu = as_activation(lambda z: z / (1 + np.exp(-z)))
    assert chi(silu, 1.0, 0.0, 1e6) == pytest.approx(chi("silu", 1.0, 0.0, 1e6), rel=1e-9)
