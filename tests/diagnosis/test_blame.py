"""The layer that was broken is the one that is blamed; healthy networks, and those that drift smoothly, blame none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.diagnosis.blame import causes_among, outliers, suspects
from isometry.network.architecture import Layer
from isometry.theory import width_noise
from tests.diagnosis.random_nets import random_net
from tests.runs import make_run

DEPTH = 20
HE = 2**0.5


def sigmas(usual, *, place, factor):
    scales = [usual] * DEPTH
    scales[place] *= factor
    return scales


USUAL = {
    "weight_rms": HE / 8,
    "weight_mean": 0.0,
    "weight_abs_max": 4 * HE / 8,
    "weight_count": 4096,
    "pre_activation_rms": HE,
    "pre_activation_mean": 0.0,
    "pre_activation_std": HE,
    "pre_activation_spread": 1.0,
    "activation_rms": 1.0,
    "activation_mean": 0.8,
    "activation_count": 512,
    "input_gradient_rms": HE * 1e-3,
    "input_gradient_count": 512,
    "delta_rms": 1e-3,
    "delta_count": 512,
    "slope_rms": 0.5**0.5,
}
"""A ReLU layer of 64 units as it is in the mean."""
ODD = [0.0, 1e-300, 1e-30, 1e30, 1e300, np.inf, np.nan]


def chain_run(**columns):
    """Twenty such layers without any scatter, but for the columns given."""
    return make_run(names=[f"fc{i + 1}" for i in range(DEPTH + 1)], activation="relu", **(USUAL | columns))


def at(place, value, usual):
    values = np.full(DEPTH + 1, float(usual))
    values[place] = value
    return values


@settings(max_examples=settings().max_examples // 5)
@given(
    place=st.integers(0, DEPTH - 1),
    factor=st.sampled_from([0.1, 0.5, 0.8, 1.25, 4.0]),
    activation=st.sampled_from(["relu", "tanh", "sigmoid"]),
    seed=st.integers(0, 1000),
)
def test_weights_of_another_size_are_found_wherever_they_are(place, factor, activation, seed):
    usual = HE if activation == "relu" else 1.0
    run = random_net(activation, depth=DEPTH, sigma=sigmas(usual, place=place, factor=factor), seed=seed)
    worst = outliers(run)[0]
    assert (worst.layer, worst.part) == (f"fc{place + 1}", "weight scale")
    # Sampling error of rms W with 4096 elements is 0.005 decades; the median of the others adds as much.
    assert worst.decades == pytest.approx(np.log10(factor), abs=0.03)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_healthy_networks_blame_nobody(activation):
    nets = [random_net(activation, depth=DEPTH, sigma=HE if activation == "relu" else 1.0, seed=s) for s in range(6)]
    assert [outliers(net) for net in nets] == [()] * len(nets)


def test_no_scatter_at_all_is_no_finding():
    assert outliers(chain_run()) == ()


def test_words_name_layer_amount_and_scatter():
    run = chain_run(weight_rms=at(6, HE / 16, HE / 8))
    (worst, *_) = outliers(run)
    assert worst.words.startswith("fc7: its weights are 0.30 decades smaller than those of its neighbours (")
    assert worst.words.endswith(" times the scatter)")
    assert worst.z == pytest.approx(abs(worst.decades) / worst.noise)


def test_a_shift_of_z_counts_in_standard_errors_of_its_mean():
    run = chain_run(pre_activation_mean=at(4, -HE, 0.0))
    shifted = next(one for one in suspects(run) if one.part == "shift of z")
    # What is common to all samples is no more than what the mean of x makes, so the least share, a fifth, counts.
    assert shifted.layer == "fc5"
    assert shifted.z == pytest.approx(1 / (0.2 / 64) ** 0.5, rel=0.1)
    # Φ(−1) of the units are on instead of a half.
    assert shifted.decades == pytest.approx(0.5 * np.log10(0.158655 / 0.5), abs=1e-4)
    assert "lie 1 standard deviations below" in shifted.words


def test_what_the_mean_of_the_weights_makes_of_the_mean_of_x_is_no_shift():
    run = chain_run(weight_mean=at(4, 0.01, 0.0), pre_activation_mean=at(4, 64 * 0.01 * 0.8, 0.0))
    assert outliers(run) == ()


def test_noise_of_the_slope_is_that_of_finite_width():
    run = chain_run(slope_rms=at(9, 0.3, 0.5**0.5))
    worst = outliers(run)[0]
    assert (worst.layer, worst.part) == ("fc10", "slope")
    uneven = (width_noise("relu", 1.0) - width_noise("identity", 1.0)) / 3
    assert worst.noise == pytest.approx(np.sqrt(uneven / 64) / (2 * np.log(10)))


def test_weights_that_pass_back_less_than_their_scale_are_blamed_themselves():
    run = chain_run(input_gradient_rms=at(8, 0.2 * HE * 1e-3, HE * 1e-3))
    worst = outliers(run)[0]
    assert (worst.layer, worst.part) == ("fc9", "weight alignment")
    assert worst.decades == pytest.approx(np.log10(0.2))


@pytest.mark.parametrize("bend", [0.02, -0.3])
def test_a_smooth_trend_along_depth_is_no_fault(bend):
    trend = 10.0 ** (bend * np.arange(DEPTH + 1))
    scales = {"weight_rms": trend * HE / 8, "weight_abs_max": trend * 4 * HE / 8}
    signals = {"pre_activation_std": trend * HE, "input_gradient_rms": trend * HE * 1e-3}
    assert outliers(chain_run(**scales, **signals)) == ()


def test_a_draw_that_keeps_the_scale_of_the_other_side_is_no_fault():
    widths = [256, 256, 256, 256, 64, 64, 64, 64, 64]
    layers = [
        Layer(f"fc{i}", "linear", "Linear", fan_in=fan_in, fan_out=fan_out, activation="tanh", inputs=(before,))
        for i, (fan_in, fan_out, before) in enumerate(
            zip(widths, widths[1:], ["", *(f"fc{i}" for i in range(len(widths) - 2))], strict=False)
        )
    ]
    fans = np.array([[layer.fan_in, layer.fan_out] for layer in layers])
    glorot = make_run(layers=layers, weight_rms=np.sqrt(2 / fans.sum(axis=1)), weight_count=fans.prod(axis=1))
    assert outliers(glorot) == ()


def test_a_layer_of_zeros_among_others_is_told_as_that():
    (worst, *_) = outliers(chain_run(weight_rms=at(3, 0.0, HE / 8)))
    assert worst.words == "fc4: its weights are all zero, unlike those of its neighbours"


def test_few_layers_and_few_columns_are_not_judged():
    assert outliers(random_net("relu", depth=3, sigma=[HE, HE, 9.0])) == ()
    assert suspects(make_run(delta_rms=np.ones(9))) == ()


def test_later_steps_are_looked_at_where_asked():
    rms = np.stack([np.full(DEPTH + 1, HE / 8), at(6, HE / 16, HE / 8)])
    run = chain_run(weight_rms=rms)
    assert outliers(run, 0) == ()
    assert outliers(run, 1)[0].layer == outliers(run, -1)[0].layer == "fc7"


@settings(max_examples=settings().max_examples // 2)
@given(
    place=st.integers(0, DEPTH),
    column=st.sampled_from([name for name in USUAL if not name.endswith("count")]),
    value=st.sampled_from(ODD),
)
def test_broken_numbers_raise_nothing(place, column, value):
    run = chain_run(**{column: at(place, value, USUAL[column])})
    assert all(one.z > 3 for one in outliers(run))


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_the_size_of_the_loss_changes_nothing(factor):
    broken = sigmas(HE, place=7, factor=0.5)
    one, other = (random_net("relu", depth=DEPTH, sigma=broken, loss_factor=f) for f in (1.0, factor))
    assert [(found.layer, found.part) for found in outliers(one)] == [("fc8", "weight scale")]
    assert [(found.layer, found.part) for found in outliers(other)] == [("fc8", "weight scale")]


def test_causes_are_the_worst_part_of_each_layer():
    weights = at(6, HE / 16, HE / 8)
    weights[11] *= 3
    run = chain_run(weight_rms=weights)
    told = causes_among(run, run.architecture.names, 0)
    assert {cause.layers for cause in told} == {("fc7",), ("fc12",)}
    assert all(cause.decades is None for cause in told)
    assert causes_among(run, ["fc4"], 0) == ()
