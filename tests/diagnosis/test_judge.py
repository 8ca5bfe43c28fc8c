import math

import numpy as np
import pytest

from isometry.diagnosis import judge
from isometry.history.inspection import Drawn, Inspection
from isometry.network.architecture import Architecture, Layer
from isometry.network.signals import Signal
from tests.runs import make_run

DEPTH, NETS = 6, 20


def layers(depth=DEPTH, **more):
    return [
        Layer(
            f"fc{k}", "linear", "Linear", (f"fc{k}.weight",), (64, 64), 64, 64,
            activation="relu" if k < depth - 1 else None,
            inputs=(f"fc{k - 1}",) if k else ("",),
            output=k == depth - 1,
            **more,
        )
        for k in range(depth)
    ]  # fmt: skip


def drawn(nets=NETS, *, slope=0.0, scatter=0.05, seed=0, depth=DEPTH):
    """Networks whose δ falls by ``slope`` decades a layer towards the input, each layer with scatter of its own."""
    rng = np.random.default_rng(seed)
    gains = -slope + scatter * rng.standard_normal((nets, depth))
    backward = np.cumsum(gains[:, ::-1], axis=1)[:, ::-1]
    return Drawn(np.cumsum(scatter * rng.standard_normal((nets, depth)), axis=1), backward)


def inspection(ensemble, measured, **more):
    run = make_run(layers=layers(ensemble.backward.shape[1]), delta_rms=10 ** measured.backward[0])
    depth = ensemble.backward.shape[1]
    return Inspection(run, measured, ensemble, np.full(depth, 1.4), np.zeros(depth), ("normal",) * depth, **more)


@pytest.mark.parametrize("nets", [4, 8, 20, 200])
def test_95_of_100_further_networks_lie_in_the_band(nets):
    rng = np.random.default_rng(nets)
    inside = []
    for _ in range(4000):
        values = rng.standard_normal((nets + 1, 1))
        band = judge.band(values[:-1])
        inside.append(band.low[0] <= values[-1, 0] <= band.high[0])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_what_is_infinite_or_unknown_is_left_out_of_the_band():
    values = np.array([[1.0, -math.inf], [1.2, -math.inf], [math.nan, 2.0], [1.1, -math.inf]])
    band = judge.band(values)
    assert band.mean[0] == pytest.approx(1.1)
    assert math.isnan(band.mean[1])


@pytest.mark.parametrize("probability", [0.95, 0.999])
@pytest.mark.parametrize(("freedom", "exact"), [(5, (2.5706, 6.8688)), (19, (2.0930, 3.8834)), (100, (1.9840, 3.3905))])
def test_quantiles_of_students_law(probability, freedom, exact):
    wanted = exact[probability > 0.99]
    assert float(judge.student_quantile(probability, freedom)) == pytest.approx(wanted, rel=0.02)


def test_a_network_like_the_others_is_inside_and_departs_nowhere():
    outside, departing = 0, 0
    for seed in range(40):
        one = drawn(1, slope=0.3, seed=1000 + seed)
        check = judge.check(inspection(drawn(slope=0.3, seed=seed), one))
        outside += check.inside < 0.7
        departing += bool(check.departures)
    assert outside <= 4
    assert departing <= 2


def test_a_layer_that_its_law_does_not_explain_departs():
    one = drawn(1, seed=7)
    one.backward[:, :3] -= 1.0  # δ falls by a decade where it passes the matrix of fc3
    (found,) = judge.check(inspection(drawn(), one)).departures
    assert (found.layer, found.signal) == ("fc3", Signal.DELTA)
    assert not found.low <= found.measured <= found.high
    assert "fc3" in found.words
    assert "loses" in found.words


def test_few_networks_tell_no_departure():
    one = drawn(1, seed=7)
    one.backward[:, :3] -= 1.0
    assert judge.check(inspection(drawn(4), one)).departures == ()


def test_the_prediction_is_relative_to_the_last_layer():
    prediction = judge.predict(inspection(drawn(slope=0.5), drawn(1)))
    assert prediction.backward.mean[-1] == 0
    assert prediction.backward.mean[0] == pytest.approx(-0.5 * (DEPTH - 1), abs=0.1)
    assert prediction.nets == NETS


def test_dead_networks_are_told_apart_from_small_gradients():
    ensemble = drawn()
    ensemble.backward[:5, 0] = -math.inf
    prediction = judge.predict(inspection(ensemble, drawn(1)))
    assert prediction.dead == 0.25
    assert math.isfinite(prediction.backward.mean[0])


def test_the_explanation_is_of_the_layers_that_most_of_it_is_made_of():
    explanation = judge.predict(inspection(drawn(), drawn(1))).explanation
    assert explanation is not None
    assert (explanation.activation, explanation.depth) == ("relu", DEPTH - 1)


def test_changes_are_ranked_by_what_they_lose_or_blow_up():
    architecture = Architecture(tuple(layers()))
    told = [
        judge.counterfactual(name, (), drawn(slope=slope), architecture)
        for name, slope in (("loses", 0.4), ("keeps", 0.0), ("blows up", -0.8))
    ]
    check = judge.check(inspection(drawn(), drawn(1)), told)
    assert [one.name for one in check.counterfactuals] == ["keeps", "loses", "blows up"]
    assert told[0].backward == pytest.approx(-2.0, abs=0.2)
    assert told[0].spread == pytest.approx(0.05 * math.sqrt(DEPTH - 1), rel=0.5)


def test_a_change_that_kills_every_network_comes_last():
    ensemble = drawn()
    ensemble.backward[:, 0] = -math.inf
    dead = judge.counterfactual("dead", (), ensemble, Architecture(tuple(layers())))
    keeps = judge.counterfactual("keeps", (), drawn(), Architecture(tuple(layers())))
    assert dead.backward == -math.inf
    assert judge.check(inspection(drawn(), drawn(1)), [dead, keeps]).counterfactuals[-1].name == "dead"


def test_networks_of_which_nothing_could_be_measured_leave_the_findings():
    nothing = Drawn(np.full((3, DEPTH), np.nan), np.full((3, DEPTH), np.nan))
    check = judge.check(inspection(nothing, drawn(1)))
    assert np.isnan(check.prediction.backward.mean).all()
    assert math.isnan(check.inside)
