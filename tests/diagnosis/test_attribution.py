"""Parts of a backward gain add up to it, whatever was recorded, and name the cause that was put in."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.diagnosis.attribution import PartKind, attribute, causes_of
from isometry.diagnosis.trunk import trunks
from isometry.network.architecture import Layer
from tests.diagnosis.random_nets import random_net
from tests.runs import make_run

ROWS = np.arange(3)
FLOAT64_ROUNDING = 1e-12
"""Sums of a hundred logarithms of order 1, each exact to 1e-16."""


def gains_of(run):
    (trunk, *_) = trunks(run.architecture)
    return attribute(run, trunk, rows=np.arange(len(run.history.steps)))


def cause(run, name):
    return sum(c.decades for c in causes_of(gains_of(run), run.architecture) if c.name == name)


@settings(max_examples=settings().max_examples // 5)
@given(
    activation=st.sampled_from(["sigmoid", "tanh", "relu", "none"]),
    sigma=st.floats(0.1, 5.0),
    depth=st.integers(2, 12),
    seed=st.integers(0, 1000),
)
def test_parts_add_up_to_the_gain(activation, sigma, depth, seed):
    run = random_net(activation, sigma=sigma, depth=depth, width=16, seed=seed, recorded=3)
    gains = gains_of(run)
    assert len(gains) == depth
    for gain in gains:
        assert sum(part.decades for part in gain.parts) == pytest.approx(gain.decades, abs=FLOAT64_ROUNDING)
    total = sum(c.decades for c in causes_of(gains, run.architecture))
    rounded_to = 1e-5
    assert total == pytest.approx(sum(gain.decades for gain in gains), abs=rounded_to)


def test_glorot_sigmoid_is_flat_not_saturated():
    run = random_net("sigmoid", depth=11, width=64)
    # Eleven quarters; the spread of z takes a third of a decade, the weights nothing.
    assert cause(run, "slope of sigmoid") == pytest.approx(11 * np.log10(0.25), abs=1e-5)
    assert cause(run, "saturation of sigmoid") == pytest.approx(-0.33, abs=0.1)
    assert abs(cause(run, "weight scale")) < 0.1


def without_names(run):
    """The same run of a network whose φ nobody has told."""
    layers = tuple(replace(layer, activation=None) for layer in run.architecture)
    return replace(run, architecture=replace(run.architecture, layers=layers))


def test_a_function_without_a_name_is_told_from_what_the_layers_do():
    known = random_net("sigmoid", depth=11, width=64)
    (told,) = [
        one for one in causes_of(gains_of(without_names(known)), known.architecture) if "without a name" in one.words
    ]
    assert told.decades == pytest.approx(cause(known, "slope of sigmoid"), abs=0.4)  # what saturates is within
    assert told.layers == known.architecture.names[:11]


def test_what_others_read_too_is_called_no_function():
    run = without_names(random_net("sigmoid", depth=11, width=64))
    first, *rest = run.architecture
    aside = Layer("aside", "linear", "Linear", fan_in=64, fan_out=64, inputs=(first.name,), calls=0)
    run = replace(run, architecture=replace(run.architecture, layers=(first, *rest[:-1], replace(aside, name="fc12"))))
    gain = gains_of(run)[0]
    assert PartKind.UNNAMED not in {part.kind for part in gain.parts}
    assert PartKind.BETWEEN in {part.kind for part in gain.parts}


def test_small_weights_before_relu_are_measured_against_he():
    run = random_net("relu", depth=10, width=256, sigma=0.5 * 2**0.5)
    # Nine hidden weights at half the critical scale and a head at 1 / √2 of it.
    expected = 9 * np.log10(0.5) + np.log10(1 / 2**0.5)
    assert cause(run, "weight scale") == pytest.approx(expected, abs=0.05)


def test_wide_draws_saturate_tanh():
    run = random_net("tanh", depth=10, sigma=5.0)
    assert cause(run, "weight scale") > 6
    assert cause(run, "saturation of tanh") < -4


def test_what_was_not_recorded_stays_in_one_piece():
    full = random_net("sigmoid", depth=4, recorded=3)
    held = {
        f"{signal}_{statistic}": full.history[signal, statistic]
        for signal, statistic in full.history.columns
        if signal == "delta"
    }
    run = make_run(layers=full.architecture.layers, **held)
    for gain, known in zip(gains_of(run), gains_of(full), strict=True):
        assert [part.kind for part in gain.parts] == [PartKind.UNSPLIT]
        assert gain.decades == pytest.approx(known.decades, abs=FLOAT64_ROUNDING)


def test_a_norm_layer_and_the_weights_before_it_are_one_cause():
    layers = [
        Layer("conv1", "conv", "Conv2d", fan_in=27, norm="bn1", inputs=("",)),
        Layer("bn1", "norm", "BatchNorm2d", activation="relu", inputs=("conv1",)),
        Layer("conv2", "conv", "Conv2d", fan_in=144, norm="bn2", inputs=("bn1",)),
        Layer("bn2", "norm", "BatchNorm2d", activation="relu", inputs=("conv2",)),
    ]
    nan = np.nan
    run = make_run(
        layers=layers,
        delta_rms=[1e-1, 2e-2, 5e-3, 1e-2],
        delta_count=100,
        activation_gradient_rms=[nan, 3e-2, nan, 1.5e-2],
        activation_gradient_count=[0, 100, 0, 100],
        input_gradient_rms=[nan, 1e-1, 3e-2, 5e-3],
        input_gradient_count=[0, 100, 100, 100],
        slope_rms=[nan, 0.7, nan, 0.7],
        weight_rms=[0.2, 1.0, 0.1, 1.0],
    )
    (gain,) = gains_of(run)
    assert (gain.lower, gain.upper) == ("conv1", "conv2")
    assert sum(part.decades for part in gain.parts) == pytest.approx(np.log10(2), abs=FLOAT64_ROUNDING)
    names = {found.name for found in causes_of([gain], run.architecture)}
    assert "weights and normalisation" in names
    assert "weight scale" not in names


RESIDUAL = [
    Layer("stem", "linear", "Linear", fan_in=8, inputs=("",)),
    Layer("a.fc", "linear", "Linear", fan_in=8, activation="relu", inputs=("stem",), branch="a.add"),
    Layer("a.add", "sum", "add", inputs=("a.fc", "stem")),
    Layer("b.fc", "linear", "Linear", fan_in=8, activation="relu", inputs=("a.add",), branch="b.add"),
    Layer("b.add", "sum", "add", inputs=("b.fc", "a.add")),
    Layer("head", "linear", "Linear", fan_in=8, inputs=("b.add",), output=True),
]


def residual_run(**more):
    return make_run(
        layers=RESIDUAL,
        delta_rms=[4.0, 0.1, 2.0, 0.1, 1.0, 1.0],
        delta_count=64,
        input_gradient_rms=[np.nan, 4.0, np.nan, 2.0, np.nan, 1.0],
        input_gradient_count=64,
        weight_rms=0.3,
        **more,
    )


def test_a_residual_sum_whose_branch_was_not_heard_is_one_part():
    gains = gains_of(residual_run())
    assert [(gain.lower, gain.upper) for gain in gains] == [("stem", "a.add"), ("a.add", "b.add"), ("b.add", "head")]
    assert [part.kind for part in gains[0].parts] == [PartKind.RESIDUAL]
    assert gains[0].decades == pytest.approx(np.log10(2), abs=FLOAT64_ROUNDING)
    assert not gains[0].branch


def test_a_residual_sum_is_its_branch_and_how_that_is_aligned():
    """Gain 2 with b = 1: 4 = 1 + 1 + 2ρ, so ρ = 1; with b = √3 and ρ = 0 the branch is all of it."""
    nan = np.nan
    gains = gains_of(
        residual_run(
            delta_branch_gain=[nan, nan, 1.0, nan, 3**0.5, nan],
            delta_branch_cosine=[nan, nan, 1.0, nan, 0.0, nan],
        )
    )
    parts = [{part.kind: part.decades for part in gain.parts} for gain in gains]
    half = 0.5 * np.log10(2)
    assert parts[0][PartKind.BRANCH] == pytest.approx(half, abs=FLOAT64_ROUNDING)
    assert parts[0][PartKind.BRANCH_ALIGNMENT] == pytest.approx(half, abs=FLOAT64_ROUNDING)
    assert parts[1][PartKind.BRANCH] == pytest.approx(2 * half, abs=FLOAT64_ROUNDING)
    assert parts[1][PartKind.BRANCH_ALIGNMENT] == pytest.approx(0.0, abs=FLOAT64_ROUNDING)
    assert parts[1][PartKind.RESIDUAL] == pytest.approx(0.0, abs=FLOAT64_ROUNDING)
    assert sum(part.decades for part in gains[1].branch) == pytest.approx(0.5 * np.log10(3), abs=FLOAT64_ROUNDING)
    words = {found.name: found.words for found in causes_of(gains, residual_run().architecture)}
    assert "a branch gives back 1.3 of what the skip does" in words["residual branch"]


@pytest.mark.parametrize(("mean", "std", "told"), [(0.0, 8.0, "z spread too wide"), (6.0, 0.5, "z shifted")])
def test_saturation_by_spread_is_told_from_saturation_by_shift(mean, std, told):
    z = mean + std * np.random.default_rng(0).standard_normal(100_000)
    rms_slope = float(np.sqrt(np.mean((1 - np.tanh(z) ** 2) ** 2)))
    layers = [
        Layer(name, "linear", "Linear", fan_in=4, activation="tanh", inputs=(before,))
        for before, name in (("", "fc1"), ("fc1", "fc2"))
    ]
    run = make_run(
        layers=layers,
        delta_rms=[rms_slope, 1.0],
        delta_count=100,
        activation_gradient_rms=1.0,
        activation_gradient_count=100,
        input_gradient_rms=1.0,
        input_gradient_count=100,
        weight_rms=0.5,
        slope_rms=rms_slope,
        pre_activation_mean=float(z.mean()),
        pre_activation_std=float(z.std()),
    )
    (gain,) = gains_of(run)
    parts = {part.kind: part.decades for part in gain.parts}
    main, other = (PartKind.SPREAD, PartKind.SHIFT) if std > mean else (PartKind.SHIFT, PartKind.SPREAD)
    sampling_error = 0.02
    assert parts[main] == pytest.approx(np.log10(rms_slope), abs=0.1)
    assert abs(parts[other]) < 0.1
    assert abs(parts[PartKind.OPERATING_SLOPE]) < sampling_error
    (saturation,) = [found for found in causes_of([gain], run.architecture) if found.name == "saturation of tanh"]
    assert told in saturation.words
    assert saturation.decades == pytest.approx(np.log10(rms_slope), abs=1e-5)
