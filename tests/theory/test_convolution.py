import numpy as np
import pytest

from isometry import IsometryError
from isometry.theory import average_pool_backward, average_pool_forward, padding_factor, padding_map


@pytest.mark.parametrize(("side", "first", "last"), [(7, 0.819, 0.901), (28, 0.953, 0.9922), (56, None, 0.9980)])
def test_padding_takes_its_share(side, first, last):
    once = padding_factor(side, side, 1)
    assert once == pytest.approx(((3 * side - 2) / (3 * side)) ** 2, rel=1e-12)
    if first is not None:
        assert once == pytest.approx(first, abs=5e-4)
    many = padding_factor(side, side, 1001) / padding_factor(side, side, 1000)
    assert many == pytest.approx(((1 + 2 * np.cos(np.pi / (side + 1))) / 3) ** 2, rel=1e-3)
    assert many == pytest.approx(last, abs=1e-3)


def test_ten_layers_on_a_small_image_keep_little():
    assert padding_factor(7, 7, 10) == pytest.approx(0.288, abs=5e-4)


def test_the_map_is_what_a_wide_convolution_does():
    rng, channels, side = np.random.default_rng(0), 400, 5
    image = rng.standard_normal((channels, side, side))
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).reshape(channels, side, side, 9)
    W = rng.standard_normal((channels, 9 * channels)) / np.sqrt(9 * channels)
    out = np.einsum("of,fxy->oxy", W, windows.transpose(0, 3, 1, 2).reshape(9 * channels, side, side))
    np.testing.assert_allclose(np.mean(out**2, axis=0), padding_map(side, side, 1), rtol=0.35)  # 5 se of 400 channels


def test_pooling_factors():
    assert average_pool_backward(2) == 0.5
    assert (average_pool_forward(2, 0.0), average_pool_forward(2, 1.0)) == (0.25, 1.0)


def test_even_kernels_are_refused():
    with pytest.raises(IsometryError, match="odd"):
        padding_factor(7, 7, 1, kernel=2)
