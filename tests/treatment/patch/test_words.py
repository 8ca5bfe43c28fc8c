"""Patches in words, for frameworks without code."""

from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import Reinitialise, ScaleLoss, ScaleRate, SetPrecision
from isometry.treatment.patch import patch
from tests.treatment.patch.nets import architecture_of, dense


def test_other_frameworks_get_sentences():
    told = Architecture((Layer("a", "linear", "Dense", fan_in=4, fan_out=4),), framework="keras")
    text = patch([Reinitialise(("a",), 1.5), ScaleRate(0.1)], told)
    assert all(line.startswith("# ") for line in text.splitlines())
    assert "1.5" in text
    assert "learning rate by 0.1" in text
    assert patch([], told) == patch([], architecture_of(dense())) == ""


def test_formats_and_scales_are_told_in_words_elsewhere():
    told = patch([ScaleLoss(8.0), SetPrecision("bfloat16")], Architecture((Layer("a", "linear", "Dense"),)))
    assert told.startswith("# Hold the weights in float32 and compute in bfloat16.") and "by 8 before" in told
