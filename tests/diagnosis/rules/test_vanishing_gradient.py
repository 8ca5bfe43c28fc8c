"""Deep sigmoid nets and small weights are found with their cause; level, converged and recovered profiles are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.vanishing_gradient import vanishing_gradient
from isometry.errors import NotRecorded
from isometry.network.architecture import Layer
from tests.diagnosis.random_nets import random_net
from tests.runs import make_run

FLAT_LOSS = {"loss": np.full(40, 2.3)}


def found(run):
    return vanishing_gradient(run)


def test_a_deep_sigmoid_net_is_found_with_its_quarter_slope():
    (finding,) = found(random_net("sigmoid", depth=11, scalars=FLAT_LOSS))
    assert finding.severity == Severity.STOPS
    assert "each lose 0.6" in finding.summary
    assert "6.6 are the quarter slope of sigmoid" in finding.summary
    assert finding.layers[0] == "fc1" and "fc12" not in finding.layers
    assert finding.causes[0].name == "slope of sigmoid"
    assert finding.causes[0].decades == pytest.approx(11 * np.log10(0.25), abs=1e-5)


@pytest.mark.parametrize(("activation", "sigma"), [("relu", 2**0.5), ("tanh", 1.0), ("none", 1.0), ("tanh", 1.3)])
@pytest.mark.parametrize("depth", [3, 10, 30])
def test_nets_at_the_critical_draw_are_silent(activation, sigma, depth):
    assert not found(random_net(activation, sigma=sigma, depth=depth, width=128))


def test_a_shallow_sigmoid_net_is_silent():
    assert not found(random_net("sigmoid", depth=2))


@settings(max_examples=settings().max_examples // 5)
@given(factor=st.sampled_from([1e-12, 1e-6, 1e6, 3.7]), depth=st.integers(2, 14), seed=st.integers(0, 99))
def test_multiplying_the_loss_changes_nothing(factor, depth, seed):
    plain = found(random_net("sigmoid", depth=depth, seed=seed, scalars=FLAT_LOSS))
    scaled = found(
        random_net("sigmoid", depth=depth, seed=seed, loss_factor=factor, scalars={"loss": factor * FLAT_LOSS["loss"]})
    )
    assert [(f.severity, f.summary, f.layers) for f in plain] == [(f.severity, f.summary, f.layers) for f in scaled]


def test_renaming_the_layers_changes_only_the_names():
    plain = found(random_net("sigmoid", depth=9))
    other = found(random_net("sigmoid", depth=9, prefix="zz"))
    assert [f.summary.replace("fc", "zz") for f in plain] == [f.summary for f in other]


def test_a_converged_net_has_small_but_level_delta():
    rms = np.geomspace(1e-2, 1e-14, 20)[:, None] * np.ones(10)
    assert not found(make_run(delta_rms=rms, delta_count=64))


@pytest.mark.parametrize(("total", "severity"), [(1000, Severity.NOTE), (20, Severity.SLOWS)])
def test_a_net_that_recovers_was_slowed_only_if_it_took_long(total, severity):
    end = {"end": [{"step": total, "steps": total}]}
    (finding,) = found(random_net("relu", depth=12, sigma=0.6, recorded=20, drift=1.0, events=end))
    assert finding.severity == severity
    assert "later the profile is level" in finding.summary


def test_a_net_whose_loss_falls_is_not_said_to_stop():
    learned = {"loss": np.linspace(2.3, 0.1, 100)}
    (stuck,) = found(random_net("sigmoid", depth=8, scalars=FLAT_LOSS))
    (learning,) = found(random_net("sigmoid", depth=8, scalars=learned))
    assert learning.severity < stuck.severity


def test_a_last_layer_that_starts_at_zero_is_no_disease():
    rms = np.full((10, 6), 1e-2)
    rms[0, :-1] = 0.0
    assert not found(make_run(delta_rms=rms, delta_count=64))


def test_below_the_range_of_float32_the_slope_tells_the_total():
    run = random_net("none", depth=151, width=8, sigma=0.5, dtype=np.float32, recorded=2, seed=3)
    (finding,) = found(run)
    assert finding.severity == Severity.STOPS
    assert "below the range of float32" in finding.summary
    zero = [name for name, rms in zip(run.architecture.names, run.history["delta", "rms"][0], strict=True) if rms == 0]
    assert finding.layers == tuple(zero)


@pytest.mark.parametrize("factor", [1e-12, 1.0])
def test_half_the_identity_152_times_loses_46_decades(factor):
    above = np.arange(152)[::-1]
    with np.errstate(under="ignore"):
        rms = (factor * 0.01 * 0.5**above).astype(np.float32).astype(float)
    (finding,) = found(make_run(delta_rms=rms, delta_abs_max=2 * rms, delta_count=64))
    assert "−45.8 decades" in finding.summary
    assert finding.layers[0] == "fc1"
    assert len(finding.layers) == int((rms == 0).sum())


@pytest.mark.parametrize("base", [0.5, 0.9, 1.1, 1.5])
def test_the_slope_of_a_linear_net_is_exact(base):
    rms = base ** np.arange(20.0)[::-1]
    findings = found(make_run(delta_rms=rms, delta_count=64))
    if base == 0.5:
        assert f"each lose {-np.log10(base):.2f} decades" in findings[0].summary
    else:
        assert not findings


def test_a_layer_that_passes_nothing_is_told_from_underflow():
    rms = np.array([0.0, 0.0, 0.0, 1e-3, 1e-3, 1e-3])
    (finding,) = found(make_run(delta_rms=rms, delta_abs_max=rms, delta_count=64))
    assert finding.severity == Severity.STOPS
    assert finding.layers == ("fc1", "fc2", "fc3")
    assert "range" not in finding.summary
    assert "fc4" in finding.summary


def test_frozen_first_layers_without_delta_do_not_disturb():
    rms = np.array([np.nan, np.nan, 1e-3, 1e-3, 1e-3])
    assert not found(make_run(delta_rms=rms, delta_count=[0, 0, 64, 64, 64]))


def test_small_delta_inside_residual_branches_is_not_judged():
    layers = [Layer("stem", "linear", "Linear", fan_in=8, inputs=("",))]
    for i in range(8):
        source = layers[-1].name
        layers += [
            Layer(f"b{i}.fc", "linear", "Linear", fan_in=8, inputs=(source,), branch=f"b{i}.add"),
            Layer(f"b{i}.add", "sum", "add", inputs=(f"b{i}.fc", source)),
        ]
    rms = [1e-2 if layer.kind == "sum" or layer.name == "stem" else 0.0 for layer in layers]
    assert not found(make_run(layers=layers, delta_rms=rms, delta_count=64))


def test_one_layer_is_no_profile():
    with pytest.raises(NotRecorded, match="chain"):
        found(make_run(delta_rms=[1e-3], delta_count=64))


def test_steps_that_are_not_finite_are_left_out():
    rms = np.full((8, 6), 1e-2)
    run = make_run(delta_rms=rms, delta_count=64, delta_nan=np.where(np.arange(8)[:, None] > 4, 3, 0) * np.ones(6))
    assert not found(run)
