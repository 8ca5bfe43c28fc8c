import math

import pytest

from isometry import IsometryError
from isometry.theory import decades_per_step, forget_bias, forget_decades, forget_half_life


@pytest.mark.parametrize(("bias", "lost", "half_life"), [(0, 30.1, 1.0), (1, 13.6, 2.2), (2, 5.5, 5.5)])
def test_forget_gates_lose_what_their_bias_lets_go(bias, lost, half_life):
    assert forget_decades(bias, steps=100) == pytest.approx(-lost, abs=0.05)
    assert forget_half_life(bias) == pytest.approx(half_life, abs=0.05)


def test_chrono_bias_keeps_a_gradient_for_its_time():
    assert forget_decades(forget_bias(1000), steps=1000) == pytest.approx(-1 / math.log(10), rel=1e-3)
    with pytest.raises(IsometryError, match="more than one step"):
        forget_bias(1)


def test_plain_units_change_by_half_a_log_of_chi():
    assert decades_per_step("identity", 0.5, 0.0) == pytest.approx(math.log10(0.5))
    assert decades_per_step("identity", 0.0, 0.0) == -math.inf
