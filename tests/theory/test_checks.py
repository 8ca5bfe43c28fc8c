"""What cannot be an argument is told in one sentence, whatever it is."""

import pytest

from isometry import IsometryError, theory


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: theory.sample_profile(64, "relu", 1.0, 0.0, nets=3, seed=0), "widths = 64: a list of whole numbers"),
        (lambda: theory.sample_profile("64", "relu", 1.0, 0.0, nets=3, seed=0), "widths = '64': a list"),
        (lambda: theory.sample_profile([], "relu", 1.0, 0.0, nets=3, seed=0), r"len\(widths\) = 0"),
        (lambda: theory.sample_profile([8, 0.5], "relu", 1.0, 0.0, nets=3, seed=0), "0.5: a whole number"),
        (lambda: theory.signal_profile("tanh", "1", 0.0, 3), "sigma_w = '1': a number"),
        (lambda: theory.signal_profile("tanh", 1.0, -0.1, 3), "sigma_b = -0.1"),
        (lambda: theory.gain(lambda z: 1.0), "does not give one finite number for every element"),
        (lambda: theory.gain("ReLU"), "Did you mean 'relu'"),
        (lambda: theory.gain("nonsense"), "Known are"),
        (lambda: theory.chi("tanh", "wide", 0.0), "sigma_w = 'wide'"),
    ],
)
def test_what_cannot_be_an_argument_is_told(call, words):
    with pytest.raises(IsometryError, match=words):
        call()
