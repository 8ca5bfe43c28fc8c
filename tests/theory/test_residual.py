import math

import numpy as np
import pytest

from isometry import IsometryError
from isometry.theory import (
    fixup_scale,
    level_branch_scale,
    normalised_residual,
    post_norm_gain,
    residual_growth,
)


def test_plain_skips_double_a_block_and_scaled_ones_stay_below_e():
    assert residual_growth(50) == 2.0**50
    assert residual_growth(50, scale=level_branch_scale(50)) == pytest.approx(1.02**50)
    assert residual_growth(10**6, scale=level_branch_scale(10**6)) == pytest.approx(math.e, rel=1e-5)
    assert residual_growth(50, scale=0.0) == 1.0  # ReZero, SkipInit


def test_normalised_branches_telescope():
    stack = normalised_residual(50)
    np.testing.assert_allclose(stack.q, np.arange(1, 52))
    assert np.prod(stack.gain) == pytest.approx(51)
    assert stack.backward == pytest.approx(0.5 * math.log10(51))


def test_fixup_scales_branches_of_two_layers_by_the_root_of_their_number():
    assert fixup_scale(16, 2) == pytest.approx(1 / 4)
    assert fixup_scale(16, 3) == pytest.approx(1 / 2)
    with pytest.raises(IsometryError, match="at least 2"):
        fixup_scale(16, 1)


def test_post_norm_is_level_if_a_branch_gives_back_what_it_puts_out():
    assert post_norm_gain(branch=0.7, back=0.7) == 1.0
    # Attention over alike tokens, v = 1, meets gradients that are not: b² ≈ 0. The worst case, 0.15 decades.
    assert 0.5 * math.log10(post_norm_gain(branch=1.0, back=0.0)) == pytest.approx(-0.15, abs=0.001)
