"""What each remedy proposes, from drawn findings and runs: no framework, no training."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import isometry.treatment.remedies
from isometry.diagnosis.attribution import UNNAMED_FUNCTION
from isometry.diagnosis.finding import AS_IT_IS, PROBLEMS, Cause, Diagnosis, Evidence, Finding, Forecast, Severity
from isometry.diagnosis.rules.precision_underflow import precision_underflow
from isometry.errors import IsometryError
from isometry.network.architecture import Layer
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    Decay,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleLoss,
    ScaleOutput,
    ScaleRate,
    ScaleWeights,
    SetEpsilon,
    SetForgetBias,
    SetPrecision,
    Standardise,
    Unfreeze,
    WarmUp,
)
from isometry.network.signals import Signal
from isometry.theory import gain, steady_critical_point
from isometry.treatment.paces import fitting_factor, half_decade, threshold
from isometry.treatment.prescribe import prescribe
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedies, remedy
from tests.runs import make_run

FOLDER = Path(isometry.treatment.remedies.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
NAMES = ("fc1", "fc2", "fc3", "fc4", "fc5")
HIDDEN = NAMES[:4]
ADAM = {"step": 0, "name": "Adam", "lr": 1e-3, "betas": [0.9, 0.999]}
SGD = {"step": 0, "name": "SGD", "lr": 0.1, "momentum": 0.0}


def run_of(optimizer=SGD, *, ratio=None, rms=0.125, gradient=1e-3, steps=20, length=200, activation="relu", **more):
    """Five layers of 64 units whose steps have this relative size; by itself that of the rate, where that is a step."""
    if ratio is None:
        ratio = optimizer["lr"] / rms if optimizer["name"] == "Adam" else 1e-3
    return make_run(
        names=NAMES,
        activation=activation,
        steps=range(steps),
        weight_rms=np.full(5, rms),
        weight_count=4096,
        update_rms=ratio * rms,
        update_applied=1,
        weight_gradient_rms=gradient,
        weight_gradient_count=4096,
        scalars={"loss": np.ones(length), "lr": np.full(length, optimizer["lr"])},
        events={"optimizer": [optimizer], **more},
    )


def finding(problem, **facts):
    return Finding(**({"severity": Severity.HARMS, "summary": "", "problem": problem, "code": "X1"} | facts))


def proposed(name, found, run=None, *others):
    """Proposals of one remedy against one finding that stands beside others."""
    chosen = next(one for one in remedies() if one.name == name)
    diagnosis = Diagnosis((found, *others), (), (), run or run_of())
    return chosen(diagnosis, found)


FORETOLD = (
    Forecast("He", (Reinitialise(HIDDEN, 1.4),), -0.2),
    Forecast("skips", (AddSkip(HIDDEN),), 0.5),
    Forecast("He + ReLU", (ReplaceActivation(HIDDEN, "relu"), Reinitialise(HIDDEN, 1.4)), -0.6),
    Forecast("norm after", (InsertNorm(HIDDEN, "layer", after=True),), 0.9),
    Forecast("norm before", (InsertNorm(HIDDEN, "layer"),), -4.5),
    Forecast(AS_IT_IS, (), -6.0),
)


# The shelf ------------------------------------------------------------------------------------------------------------


def test_every_remedy_has_a_page_with_sources_and_treats_known_problems():
    for one in remedies():
        assert "Sources:" in one.doc
        assert one.doc.splitlines()[0].endswith((".", ",")), one.name
        assert set(one.treats) <= set(PROBLEMS)
    assert {one.propose.__module__.rsplit(".", 1)[1] for one in remedies()} == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_remedy_knows_another(path):
    imported = [node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if name.startswith("isometry.treatment.remedies")]


def test_gentle_ones_come_first():
    effects = [list(Effect).index(one.effect) for one in remedies()]
    assert effects == sorted(effects)


def test_a_remedy_against_nothing_is_refused():
    with pytest.raises(IsometryError, match="bad_luck"):
        remedy("charm", treats=["bad_luck"], effect=Effect.RETUNES)


def test_a_remedy_is_silent_about_what_it_does_not_treat():
    always = remedy("always", treats=["loss_spike"], effect=Effect.RETUNES)(lambda _, found: [Proposal((), "")])
    diagnosis = Diagnosis((), (), (), run_of())
    assert always(diagnosis, finding("loss_spike"))
    assert not always(diagnosis, finding("dead_units"))


# The network ----------------------------------------------------------------------------------------------------------


def test_forecasts_become_proposals_of_their_own_remedies():
    fallen = finding("vanishing_gradient", layers=HIDDEN, forecasts=FORETOLD)
    expected = {"critical-initialisation": -0.2, "add-skip": 0.5, "replace-activation": -0.6, "insert-norm": 0.9}
    for name, decades in expected.items():
        (one,) = proposed(name, fallen)
        assert one.expected == decades
        assert "instead of −6.0" in one.words


@pytest.mark.parametrize("activation", ["celu", "prelu", "rrelu", "quick_gelu", "logsigmoid"])
def test_weights_can_be_drawn_anew_for_every_phi_whose_gain_is_known(activation):
    grown = finding("exploding_gradient", layers=HIDDEN)
    (one,) = proposed("critical-initialisation", grown, run_of(activation=activation))
    assert one.edits[0].layers == HIDDEN
    assert one.edits[0].gain == pytest.approx(critical_or_forward_gain(activation))


@pytest.mark.parametrize(("decades", "proposals"), [(-3.0, 1), (-0.2, 0)])
def test_a_norm_stands_before_functions_without_a_name_that_take_much(decades, proposals):
    unnamed = Cause(UNNAMED_FUNCTION, decades, "", HIDDEN)
    found = proposed(
        "insert-norm", finding("vanishing_gradient", layers=HIDDEN, causes=(unnamed,)), run_of(activation=None)
    )
    assert [one.edits for one in found] == [(InsertNorm(HIDDEN, "layer"),)] * proposals


SATURATED = {"layers": ("pooler",), "severity": Severity.HARMS}


def attending(sigma_w, *, tied_to=None):
    """A transformer whose matrices have this σ_w, the embedding left aside."""
    layers = (
        Layer("tokens", "embedding", "Embedding", fan_in=64, fan_out=64),
        Layer("query", "linear", "Linear", fan_in=64, fan_out=64, branch="add", inputs=("tokens",)),
        Layer("attention", "attention", "MultiheadAttention", fan_in=64, fan_out=192, branch="add", inputs=("query",)),
        Layer("add", "sum", "add", inputs=("tokens", "attention")),
        Layer("norm", "norm", "LayerNorm", inputs=("add",)),
        Layer("up", "linear", "Linear", fan_in=64, fan_out=64, activation="relu", branch="add_1", inputs=("norm",)),
        Layer("down", "linear", "Linear", fan_in=64, fan_out=64, branch="add_1", inputs=("up",)),
        Layer("add_1", "sum", "add", inputs=("norm", "down")),
        Layer("pooler", "linear", "Linear", fan_in=64, fan_out=64, norm="normed", inputs=("add_1",), tied_to=tied_to),
        Layer("normed", "norm", "LayerNorm", activation="tanh", inputs=("pooler",)),
        Layer("head", "linear", "Linear", fan_in=64, fan_out=2, output=True, inputs=("normed",)),
    )
    sizes = np.array(
        [9.0 if layer.kind == "embedding" else sigma_w / 8 if layer.weighted else np.nan for layer in layers]
    )
    return make_run(layers=layers, weight_rms=sizes, weight_count=4096.0)


def branches(scale):
    """What another finding foretells: of lighter branches alone."""
    lighter = Forecast("residual branches × 1/√L", (ScaleWeights(("down",), scale),), 0.6)
    return finding("exploding_gradient", severity=Severity.NOTE, forecasts=(lighter, Forecast(AS_IT_IS, (), 2.0)))


def test_layers_drawn_far_too_large_are_drawn_anew_in_front_of_norms_too():
    (one,) = proposed(
        "critical-initialisation", finding("saturated_activation", **SATURATED), attending(10), branches(0.5)
    )
    gains = {name: edit.gain for edit in one.edits for name in edit.layers}
    assert gains == {
        "query": 1, "attention": 1, "up": pytest.approx(2**0.5), "down": 1, "pooler": 1, "head": 1,
    }  # fmt: skip
    assert "tokens" not in one.words


def test_layers_drawn_a_little_too_large_are_left_alone():
    assert not proposed(
        "critical-initialisation", finding("saturated_activation", **SATURATED), attending(2.5), branches(1)
    )


def test_weights_that_two_layers_share_are_left_alone():
    found = proposed(
        "critical-initialisation",
        finding("saturated_activation", **SATURATED),
        attending(10, tied_to="tokens"),
        branches(0.5),
    )
    assert all("pooler" not in edit.layers for one in found for edit in one.edits)


def test_a_redraw_takes_along_what_has_no_phi_and_was_drawn_far_too_large():
    (one,) = proposed("critical-initialisation", finding("saturated_activation", **SATURATED), attending(10))
    assert {"query", "attention", "up", "down", "pooler", "head"} == {name for e in one.edits for name in e.layers}


def critical_or_forward_gain(activation):
    point = steady_critical_point(activation, 0.0)
    return point.sigma_w if point else gain(activation)


def test_what_leaves_most_of_the_loss_is_not_proposed():
    fallen = finding("vanishing_gradient", layers=HIDDEN, forecasts=FORETOLD)
    assert all(not edit.after or one.expected == 0.9 for one in proposed("insert-norm", fallen) for edit in one.edits)
    assert len(proposed("insert-norm", fallen)) == 1


def test_a_network_that_was_level_at_first_is_left_alone():
    level = (Forecast("He", (Reinitialise(HIDDEN, 1.4),), 0.0), Forecast(AS_IT_IS, (), -0.3))
    told = finding("exploding_gradient", layers=HIDDEN, forecasts=level)
    later = finding("exploding_gradient", layers=HIDDEN, evidence=(Evidence("growth, first steps", 0.3, 1.8),))
    for found in (told, later):
        assert not proposed("critical-initialisation", found)
        assert not proposed("insert-norm", found)


def test_a_draw_that_is_to_blame_is_made_good_in_the_output_layer_too():
    weights = finding("poor_initialization", layers=NAMES[1:])
    growing = (Forecast("He", (Reinitialise(HIDDEN, 1.4),), 0.7), Forecast(AS_IT_IS, (), 6.0))
    explodes = finding("exploding_gradient", layers=HIDDEN, forecasts=growing)
    (one,) = proposed("critical-initialisation", weights, run_of(rms=1.25), explodes)
    assert one.edits == (Reinitialise(HIDDEN, 1.4), Reinitialise(("fc5",), 1.0))
    assert one.expected == pytest.approx(0.7 - 1.0)  # σ_w of the output was 1.25 · √64 = 10


def test_without_forecasts_the_gain_of_theory_is_taken():
    dead = finding("dead_units", layers=HIDDEN, causes=(Cause("dead from the start", None, ""),))
    (one,) = proposed("critical-initialisation", dead)
    assert one.edits == (Reinitialise(HIDDEN, pytest.approx(2**0.5)),)
    assert one.expected is None


def test_layers_without_an_activation_keep_signals_at_one():
    shallow = finding("vanishing_gradient", layers=HIDDEN)
    (one,) = proposed("critical-initialisation", shallow, run_of(activation=None))
    assert one.edits == (Reinitialise(HIDDEN, 1.0),)
    told = finding("vanishing_gradient", layers=HIDDEN, forecasts=(Forecast(AS_IT_IS, (), -30.0),))
    assert proposed("critical-initialisation", told, run_of(activation=None)) == (one,)


def test_units_that_died_in_training_get_no_new_weights_but_another_activation():
    dead = finding("dead_units", layers=HIDDEN, causes=(Cause("died in training", None, ""),))
    assert not proposed("critical-initialisation", dead)
    (one,) = proposed("replace-activation", dead)
    assert one.edits == (ReplaceActivation(HIDDEN, "elu"),)


@pytest.mark.parametrize(
    ("kind", "samples", "core", "norm"),
    [
        ("conv", 64, "norm", "batch"),
        ("conv", 4, "norm", "group"),
        ("linear", 64, "norm", "batch"),
        ("linear", 4, "norm", "rms"),
        ("conv", 64, "attention", "group"),
        ("linear", 64, "recurrent", "rms"),
    ],
)
def test_batch_norm_stands_only_where_samples_may_see_each_other(kind, samples, core, norm):
    layers = [
        Layer("a", kind, "X", fan_in=8, fan_out=8, activation="tanh"),
        Layer("b", core, "X"),
        Layer("c", "linear", "Linear", fan_in=8, fan_out=5, output=True),
    ]
    counts = np.array([samples * 8 * 49.0 if kind == "conv" else samples * 8.0, np.nan, samples * 5.0])
    run = make_run(layers=layers, delta_rms=np.ones(3), pre_activation_count=counts)
    told = (Forecast("batch norm", (InsertNorm(("a",), "batch"),), 0.1), Forecast(AS_IT_IS, (), -6.0))
    (one,) = proposed("insert-norm", finding("vanishing_gradient", layers=("a",), forecasts=told), run)
    assert one.edits == (InsertNorm(("a",), norm),)


def test_exponentials_make_room_for_relu_where_numbers_overflow():
    lost = finding("non_finite", causes=(Cause("overflow", None, ""),))
    (one,) = proposed("replace-activation", lost, run_of(activation="exponential"))
    assert one.edits == (ReplaceActivation(NAMES[:4], "relu"), Reinitialise(NAMES[:4], pytest.approx(2**0.5)))
    assert not proposed("replace-activation", lost, run_of(activation="tanh"))


def test_equal_units_are_not_told_apart_by_a_norm():
    equal = finding("poor_initialization", layers=HIDDEN, causes=(Cause("symmetry", None, ""),))
    assert proposed("critical-initialisation", equal)
    assert not proposed("insert-norm", equal)


def recurrent(kind):
    layers = [Layer("core", "recurrent", kind, fan_in=4, fan_out=8, weight_shape=(8, 4), recurrent=True)]
    return make_run(layers=layers, delta_rms=[1.0], events={"through_time": [{"step": 0, "layer": "core", "rms": []}]})


def test_plain_recurrence_becomes_orthogonal_and_gates_are_left_alone():
    lost = finding("vanishing_gradient", layers=("core",), causes=(Cause("recurrence", -9.0, ""),))
    (one,) = proposed("orthogonal-recurrence", lost, recurrent("RNN"))
    assert one.edits == (Reinitialise(("core",), 1.0, orthogonal=True),)
    assert not proposed("orthogonal-recurrence", lost, recurrent("LSTM"))
    assert not proposed("critical-initialisation", lost, recurrent("RNN"))


def test_an_lstm_that_forgets_gets_open_gates_for_the_length_of_its_sequences():
    lost = finding("vanishing_gradient", layers=("core",), causes=(Cause("recurrence", -9.0, ""),))
    layers = [Layer("core", "recurrent", "LSTM", fan_in=4, fan_out=8, weight_shape=(8, 4), recurrent=True)]
    times = [{"step": step, "layer": "core", "rms": list(np.logspace(-9, 0, 41))} for step in range(10)]
    run = make_run(layers=layers, delta_rms=[1.0], events={"through_time": times})
    first, second = proposed("forget-bias", lost, run)
    assert first.edits == (SetForgetBias(("core",), 3.7, opposed=True),)  # ln 40
    assert second.edits == (SetForgetBias(("core",), 3.7),)
    assert not proposed("forget-bias", lost, recurrent("GRU"))  # whose sequences nobody has seen
    plain = make_run(layers=[replace(layers[0], type="RNN")], delta_rms=[1.0], events={"through_time": times})
    assert not proposed("forget-bias", lost, plain)
    assert not proposed("forget-bias", finding("vanishing_gradient", layers=("core",)), run)


def test_a_gru_that_forgets_gets_update_gates_that_keep_and_no_input_gates():
    lost = finding("vanishing_gradient", layers=("core",), causes=(Cause("recurrence", -9.0, ""),))
    layers = [Layer("core", "recurrent", "GRUCell", fan_in=4, fan_out=8, weight_shape=(24, 4), recurrent=True)]
    times = [{"step": step, "layer": "core", "rms": list(np.logspace(-9, 0, 20))} for step in range(10)]
    (one,) = proposed("forget-bias", lost, make_run(layers=layers, delta_rms=[1.0], events={"through_time": times}))
    assert one.edits == (SetForgetBias(("core",), 2.9),)  # ln 19
    assert "update gates of core" in one.words


def test_lighter_branches_are_as_foretold():
    scaled = (Forecast("lighter", (ScaleWeights(("fc2",), 0.5),), 0.2), Forecast(AS_IT_IS, (), 5.0))
    (one,) = proposed("lighter-branches", finding("exploding_gradient", forecasts=scaled))
    assert (one.edits[0].factor, one.expected) == (0.5, 0.2)


# The training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "factor"), [(2e-5, 1000.0), (0.02, 1.0), (2.0, 0.01)])
def test_the_factor_brings_steps_to_a_fiftieth_of_the_weights(ratio, factor):
    assert fitting_factor(run_of(ratio=ratio)) == pytest.approx(factor)


def test_momentum_is_taken_as_built_up():
    assert fitting_factor(run_of(SGD | {"momentum": 0.9}, ratio=2e-3)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("sharpness", "rate"),
    [
        (0.8, 0.3),  # 2 / λ = 2.5, an eighth of it is 0.31
        (200.0, 0.1),  # steps that fit are larger than that
        (1e-9, 3.0),  # no curvature says nothing: 30 times the rate with which steps fit
        (-3.0, 0.1),
        (np.nan, 0.1),
        (0.0, 0.1),
    ],
)
def test_gradient_descent_may_take_the_larger_steps_that_curvature_allows(sharpness, rate):
    told = {"curvature": [{"step": 0, "sharpness": sharpness}]}
    assert fitting_factor(run_of(ratio=0.02, **told)) == pytest.approx(rate / 0.1)
    slow = SGD | {"lr": 0.01, "momentum": 0.9}
    assert fitting_factor(run_of(slow, ratio=0.002, **told)) == pytest.approx(rate / 0.1)
    assert fitting_factor(run_of(ADAM | {"lr": 3.0}, **told)) == pytest.approx(1e-3)


def test_the_rate_of_an_adaptive_optimiser_is_judged_by_ordinary_weights():
    # 0.02 / √64 is 0.0025, whatever the weights were drawn like; the nearest half decade is 0.003.
    for rms in (0.125, 12.5):
        assert fitting_factor(run_of(ADAM | {"lr": 3.0}, rms=rms)) == pytest.approx(1e-3)


def test_an_adaptive_optimiser_whose_steps_are_far_from_its_rate_is_judged_by_its_steps():
    slow = {"step": 0, "name": "Adadelta", "lr": 1.0}
    assert fitting_factor(run_of(slow, ratio=2e-5)) == pytest.approx(1e3)  # the rate alone would say 0.003
    assert fitting_factor(run_of(ADAM | {"lr": 1e-4}, ratio=2.0)) == pytest.approx(1e-2)
    assert fitting_factor(run_of(slow | {"name": "RAdam"}, ratio=2e-5)) == pytest.approx(3e-3)  # it begins so
    for told in (ADAM | {"lr": 3e-3}, ADAM | {"lr": 3e-3, "eps": 1e-2}):  # an ε above the gradients is another cause
        assert fitting_factor(run_of(told, ratio=0.02 if "eps" not in told else 1e-6)) == pytest.approx(1.0)


def test_half_decades():
    assert [half_decade(value) for value in (0.9, 2.0, 2.9, 44.0, 0.0004)] == [1.0, 3.0, 3.0, 30.0, 0.0003]


def test_rates_are_raised_and_lowered_with_a_second_try():
    slow, fast = finding("learning_rate_too_low"), finding("learning_rate_too_high")
    raised = proposed("raise-rate", slow, run_of(ratio=2e-6))
    assert [one.edits for one in raised] == [(ScaleRate(1e4),), (ScaleRate(1e3),)]
    assert "to 1000" in raised[0].words
    lowered = proposed("lower-rate", fast, run_of(ratio=2.0))
    assert [one.edits for one in lowered] == [(ScaleRate(0.01),), (ScaleRate(0.001),)]


def test_a_rate_that_was_called_wrong_is_changed_by_three_at_least():
    assert proposed("lower-rate", finding("learning_rate_too_high"), run_of(ratio=0.02))[0].edits == (ScaleRate(0.3),)
    assert proposed("raise-rate", finding("learning_rate_too_low"), run_of(ratio=0.02))[0].edits == (ScaleRate(3.0),)


def test_gradients_of_another_cause_say_nothing_of_the_rate():
    follows = ("W101",)
    assert not proposed("raise-rate", finding("learning_rate_too_low", follows=follows), run_of(ratio=1e-7))
    assert proposed("raise-rate", finding("learning_rate_too_low", follows=follows), run_of(ADAM | {"lr": 1e-6}))
    assert not proposed("lower-rate", finding("learning_rate_too_high", follows=follows), run_of(ratio=1e5))


def summed(times, optimizer=SGD, **facts):
    """A run whose loss is so many times its mean over the batch."""
    event = {"step": 0, "kind": "cross_entropy", "classes": 5, "value": 1 / times}
    return run_of(optimizer, loss_kind=[event], **facts)


def test_a_loss_that_was_added_up_has_its_rate_divided_by_as_much_first():
    fast = finding("learning_rate_too_high")
    lowered = proposed("lower-rate", fast, summed(96.0, ratio=2.0))
    assert [one.edits for one in lowered] == [(ScaleRate(0.01),), (ScaleRate(0.01),), (ScaleRate(0.001),)]
    assert "The loss is 96 times its mean" in lowered[0].words
    assert proposed("lower-rate", fast, summed(250.0, ratio=2.0))[0].edits == (ScaleRate(0.004),)
    for plain in (summed(2.0, ratio=2.0), summed(96.0, ADAM, ratio=2.0)):
        assert "times its mean" not in proposed("lower-rate", fast, plain)[0].words


def test_an_adam_too_bold_for_the_weights_is_lowered_though_something_else_was_found():
    flat = finding("loss_not_decreasing", follows=("G101",))
    assert proposed("lower-rate", flat, run_of(ADAM | {"lr": 0.01}))[0].edits == (ScaleRate(0.3),)
    assert not proposed("lower-rate", flat, run_of(ADAM))
    assert not proposed("lower-rate", flat, run_of(SGD, ratio=2.0))


TINY = ADAM | {"eps": 1e-8}


def test_an_epsilon_above_the_gradients_is_lowered():
    slow = finding("learning_rate_too_low")
    (one,) = proposed("lower-epsilon", slow, run_of(TINY, gradient=1e-11))
    assert one.edits == (SetEpsilon(1e-13),)
    gradient = np.full((20, 5), 1e-3)
    gradient[:, 0] = 4e-10
    (one,) = proposed(
        "lower-epsilon", finding("vanishing_gradient", forecasts=FORETOLD), run_of(TINY, gradient=gradient)
    )
    assert one.edits == (SetEpsilon(3e-12),)
    assert one.expected == -6.0  # the profile stays
    assert not proposed("lower-epsilon", slow, run_of(TINY, gradient=1e-6))
    assert not proposed("lower-epsilon", slow, run_of(TINY, gradient=1e-20))
    assert not proposed("lower-epsilon", slow, run_of(SGD, gradient=1e-11))
    assert not proposed("lower-epsilon", slow, run_of(ADAM, gradient=1e-11))


def test_frozen_layers_that_an_optimiser_holds_are_unfrozen_and_nothing_else():
    frozen = finding("no_gradient", layers=("fc2", "fc3"), causes=(Cause("frozen", None, "", ("fc2", "fc3")),))
    assert proposed("unfreeze", frozen)[0].edits == (Unfreeze(("fc2", "fc3")),)
    cut = finding("no_gradient", layers=("fc2",), causes=(Cause("cut off from the loss", None, "", ("fc2",)),))
    assert not proposed("unfreeze", cut)


def test_a_loss_that_stays_has_its_rate_judged_by_the_steps_alone():
    flat = finding("loss_not_decreasing", causes=(Cause("guessing", None, ""),))
    assert proposed("raise-rate", flat, run_of(ratio=2e-5))[0].edits == (ScaleRate(1e3),)
    assert proposed("lower-rate", flat, run_of(ratio=2.0))[0].edits == (ScaleRate(0.01),)
    assert not proposed("raise-rate", flat, run_of(ratio=0.02))
    for other in (finding("loss_not_decreasing", follows=("G101",)), finding("loss_not_decreasing", causes=(SIGN,))):
        assert not [one for name in ("raise-rate", "lower-rate") for one in proposed(name, other, run_of(ratio=2.0))]
        assert not proposed("change-optimizer", other)


SIGN = Cause("sign", None, "")


def test_clipping_is_at_the_norm_before_the_trouble():
    gradient = np.full((20, 5), 1e-3)
    gradient[10:] = 10.0
    run = run_of(ADAM, gradient=gradient)
    ordinary = 1e-3 * (5 * 4096) ** 0.5
    one, *others = proposed("clip", finding("loss_spike", first_step=10), run)
    assert isinstance(one.edits[0], Clip)
    assert one.edits[0].threshold == pytest.approx(ordinary, rel=0.04)  # two digits
    assert [other.edits[0] for other in others] == [Clip(2.5, "zscore")]
    assert proposed("clip", finding("loss_spike", first_step=10), run_of(SGD))[1].edits == (Clip(10.0, "percentile"),)


def test_units_of_plain_descent_are_clipped_by_their_weights():
    explodes = finding("exploding_gradient")
    assert [one.edits[0].by for one in proposed("clip", explodes, run_of(SGD))] == ["norm", "adaptive"]
    assert [one.edits[0].by for one in proposed("clip", explodes, run_of(ADAM))] == ["norm"]


def test_clipping_is_where_steps_fit_if_gradients_were_large_from_the_start():
    run = run_of(SGD, gradient=1e6)
    length = 0.125 * (5 * 4096) ** 0.5
    assert threshold(run, 0) == pytest.approx(0.02 * length / 0.1, rel=0.04)


def test_gradients_that_were_not_recorded_or_not_finite_give_no_threshold():
    assert threshold(make_run(names=NAMES, delta_rms=1.0), None) is None
    assert threshold(run_of(ADAM, gradient=np.nan), None) is None


def test_adam_is_not_clipped_against_a_rate_that_is_too_high():
    assert proposed("clip", finding("learning_rate_too_high"), run_of(SGD))
    assert not proposed("clip", finding("learning_rate_too_high"), run_of(ADAM))


def test_only_an_overflow_is_clipped_away():
    assert proposed("clip", finding("non_finite", causes=(Cause("overflow", None, ""),)))
    assert not proposed("clip", finding("non_finite", causes=(Cause("invalid operation", None, ""),)))


def test_a_warm_up_takes_a_tenth_of_the_training_and_a_third_where_the_optimiser_is_adaptive():
    (one,) = proposed("warm-up", finding("loss_spike", first_step=4), run_of(SGD))
    assert one.edits == (WarmUp(20),)
    (one,) = proposed("warm-up", finding("loss_spike", first_step=4), run_of(ADAM))
    assert one.edits == (WarmUp(66),)
    assert not proposed("warm-up", finding("loss_spike", first_step=150), run_of(ADAM))


def test_an_adaptive_optimiser_that_learns_nothing_for_no_reason_is_tried_with_a_warm_up_to_less_then_with_a_tenth():
    flat = finding("loss_not_decreasing", causes=(Cause("guessing", None, ""),))
    (one,) = proposed("warm-up", flat, run_of(ADAM))
    assert one.edits == (ScaleRate(0.3), WarmUp(66))
    assert "66 steps to 0.0003, which is 0.3 times" in one.words
    assert [one.edits for one in proposed("lower-rate", flat, run_of(ADAM))] == [(ScaleRate(0.1),)]
    order = [plan.remedy for plan in isometry.prescribe(Diagnosis((flat,), (), (), run_of(ADAM)))]
    assert order[:2] == ["warm-up", "lower-rate"]
    short = run_of(ADAM, steps=2, length=10)
    assert not proposed("warm-up", flat, short)
    assert [one.edits for one in proposed("lower-rate", flat, short)] == [(ScaleRate(0.3),), (ScaleRate(0.1),)]
    for other in (
        finding("loss_not_decreasing", causes=(Cause("sign", None, ""),)),
        finding("loss_not_decreasing", follows=("G101",)),
    ):
        assert not proposed("warm-up", other, run_of(ADAM))
    assert not proposed("warm-up", flat, run_of(SGD))


@pytest.mark.parametrize("problem", ["loss_spike", "learning_rate_too_high"])
def test_a_rate_falls_over_the_training_where_something_was_learned_at_it(problem):
    found = finding(problem, first_step=4)
    (one,) = proposed("decay-rate", found)
    assert one.edits == (Decay(200),)  # losses of 200 steps, of which 20 were recorded
    for other in ("loss_not_decreasing", "non_finite"):
        assert not proposed("decay-rate", found, run_of(), finding(other))
    falling = make_run(names=NAMES, scalars={"loss": np.ones(200), "lr": np.linspace(0.1, 0.01, 200)})
    assert not proposed("decay-rate", found, falling)
    warmed = make_run(names=NAMES, scalars={"loss": np.ones(200), "lr": np.linspace(0.01, 0.1, 200)})
    assert proposed("decay-rate", found, warmed)


def test_a_lower_rate_is_tried_before_one_that_falls():
    diagnosis = Diagnosis((finding("learning_rate_too_high"),), (), (), run_of(ratio=2.0))
    order = [plan.remedy for plan in prescribe(diagnosis)]
    assert order.index("lower-rate") < order.index("decay-rate")


def test_plain_descent_becomes_adam_at_a_rate_that_suits_the_weights():
    (one,) = proposed("change-optimizer", finding("learning_rate_too_low"), run_of(SGD))
    assert one.edits == (ChangeOptimizer("adam", 0.003),)
    assert not proposed("change-optimizer", finding("learning_rate_too_low"), run_of(ADAM))


def test_adam_becomes_plain_descent_only_where_nothing_else_was_found():
    flat = finding("loss_not_decreasing")
    (one,) = proposed("change-optimizer", flat, run_of(ADAM, gradient=1e-2))
    assert one.edits == (ChangeOptimizer("sgd", 0.03),)  # 0.02 · 0.1 · 0.125 / 0.01, to the nearest half decade


def test_what_explodes_along_depth_keeps_doing_so_under_adam_and_says_so():
    explodes = finding("exploding_gradient", forecasts=(Forecast(AS_IT_IS, (), 6.0),))
    for name in ("clip", "change-optimizer"):
        assert proposed(name, explodes)[0].expected == 6.0


INPUTS = Evidence("rms of the input", 140.0, 30.0, reads=((Signal.INPUT, "rms"),))


def test_inputs_are_standardised_and_targets_are_not():
    loud = finding("unscaled_input", layers=("fc1",), evidence=(INPUTS,))
    assert proposed("standardise-inputs", loud)[0].edits == (Standardise(),)
    assert proposed("insert-norm", loud)[0].edits == (InsertNorm(("fc1",), "batch"),)
    targets = finding("unscaled_input", layers=("fc5",), evidence=(Evidence("rms of the targets", 1e3, 30.0),))
    assert not proposed("standardise-inputs", targets)
    assert not proposed("insert-norm", targets)
    assert proposed("change-optimizer", targets)[0].edits == (ChangeOptimizer("adam", 0.03),)
    assert proposed("raise-rate", targets, run_of(ADAM))[0].edits == (ScaleRate(30.0),)


def far_targets(mean, std, optimizer=SGD, kind="mse", **facts):
    """A finding about targets out of scale, and a run that tells them."""
    event = {"step": 0, "kind": kind, "targets": {"mean": mean, "std": std}}
    cause = Cause("scale of the targets", None, "", ("fc5",))
    found = finding("unscaled_input", layers=("fc5",), causes=(cause,))
    return found, run_of(optimizer, loss_kind=[event], **facts)


@pytest.mark.parametrize(
    ("mean", "std", "kind", "factor"),
    [(5000.0, 200.0, "mse", 2.5e-5), (5000.0, 200.0, "smooth_l1", 0.005), (0.0, 0.002, "smooth_l1", 250_000.0)],
)
def test_outputs_get_the_scale_of_the_targets_and_plain_descent_another_rate(mean, std, kind, factor):
    first, *_ = proposed("scale-outputs", *far_targets(mean, std, kind=kind))
    assert first.edits == (ScaleOutput(("fc5",), mean, std), ScaleRate(factor))
    first, *more = proposed("scale-outputs", *far_targets(mean, std, ADAM, kind))
    assert first.edits == (ScaleOutput(("fc5",), mean, std),)
    assert not more
    first, *_ = proposed("scale-outputs", *far_targets(mean, std, TINY, kind))
    assert first.edits[1:] == ((SetEpsilon(4e-14),) if std < 1 else ())


def test_a_rate_that_was_chosen_for_far_targets_is_judged_by_the_first_step():
    first, second = proposed("scale-outputs", *far_targets(0.0, 1000.0, SGD, ratio=0.02))
    assert first.edits[1] == ScaleRate(1e-6)
    assert second.edits[1] == ScaleRate(1e-3)  # steps fitted; gradients grow by the deviation
    _, second = proposed("scale-outputs", *far_targets(0.0, 1000.0, ADAM | {"lr": 3.0}))
    assert second.edits == (ScaleOutput(("fc5",), 0.0, 1000.0), ScaleRate(1e-3))


def test_numbers_of_targets_are_told_as_finely_as_they_scatter():
    first, *_ = proposed("scale-outputs", *far_targets(123456.789, 2.3456, ADAM))
    assert first.edits == (ScaleOutput(("fc5",), 123456.79, 2.35),)
    constant, *_ = proposed("scale-outputs", *far_targets(50.0, 0.0, ADAM))
    assert constant.edits == (ScaleOutput(("fc5",), 50.0, 50.0),)
    assert not proposed("scale-outputs", finding("unscaled_input", layers=("fc1",), evidence=(INPUTS,)))


def test_every_proposal_is_a_sentence():
    found = [
        finding(
            problem,
            layers=HIDDEN,
            forecasts=FORETOLD if problem in ("vanishing_gradient", "exploding_gradient") else (),
            evidence=(INPUTS,) if problem == "unscaled_input" else (),
            first_step=0,
        )
        for problem in PROBLEMS
    ]
    for one in found:
        for chosen in remedies():
            for proposal in chosen(Diagnosis((one,), (), (), run_of()), one):
                assert proposal.edits
                assert proposal.words[0].isupper()
                assert proposal.words.endswith(".")


def lost_in_float16(*, scale=None):
    """δ of a training whose loss sends gradients of 2e-8, and what the rules say of it."""
    events = {
        "formats": [{"step": 0, "formats": dict.fromkeys(NAMES, "float16")}],
        "rounded": [{"step": step, "size": 2e-8, "largest": 6e-8} for step in range(20)],
    } | ({"loss_scale": [{"step": 0, "scale": scale}]} if scale else {})
    nothing = {f"delta_{kind}": np.zeros(5) for kind in ("rms", "nan", "inf")}
    run = make_run(
        names=NAMES, activation="relu", steps=range(20), delta_count=64, delta_zeros=64, **nothing, events=events
    )
    return run, next(iter(precision_underflow(run)))


def test_gradients_that_float16_loses_are_scaled_or_held_in_bfloat16():
    run, found = lost_in_float16()
    (scaling,) = proposed("scale-loss", found, run)
    wide, wider = proposed("change-precision", found, run)
    assert scaling.edits == (ScaleLoss(65536.0),)
    assert (wide.edits, wider.edits) == ((SetPrecision("bfloat16"),), (SetPrecision("float32"),))


def test_a_loss_that_is_scaled_is_not_scaled_again():
    run, found = lost_in_float16(scale=2.0)
    assert proposed("scale-loss", found, run) == ()
    assert proposed("change-precision", found, run)
