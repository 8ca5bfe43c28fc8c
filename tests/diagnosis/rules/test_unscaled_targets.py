"""D102 finds regression targets out of scale."""

import pytest

from isometry.diagnosis.rules.unscaled_targets import unscaled_targets
from isometry.errors import NotRecorded
from isometry.history.run import Run
from tests.runs import make_run


def asked_for(mean: float, std: float, *, kind: str = "mse") -> Run:
    event = {"step": 0, "kind": kind, "classes": None, "targets": {"mean": mean, "std": std}, "outputs": None}
    return make_run(delta_rms=[1.0, 1.0], events={"loss_kind": [event]})


@pytest.mark.parametrize("kind", ["mse", "l1", "smooth_l1"])
@pytest.mark.parametrize(("mean", "std"), [(152.0, 77.0), (2e5, 8e4), (0.0, 1e-4), (1e4, 1.0), (20.0, 0.5)])
def test_targets_out_of_scale_are_found(mean: float, std: float, kind: str) -> None:
    (finding,) = unscaled_targets(asked_for(mean, std, kind=kind))
    assert finding.layers == ("fc2",)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (5.0, 3.0), (0.3, 0.2), (1.0, 0.0)])
def test_ordinary_targets_are_no_finding(mean: float, std: float) -> None:
    assert unscaled_targets(asked_for(mean, std)) == ()


def test_classes_are_not_judged() -> None:
    with pytest.raises(NotRecorded):
        unscaled_targets(asked_for(1e5, 1e5, kind="cross_entropy"))


@pytest.mark.parametrize(("mean", "std"), [(2e5, 8e4), (0.0, 1e-4), (1e4, 1.0)])
def test_answers_that_a_constant_brings_to_the_scale_of_the_targets_are_in_order(mean: float, std: float) -> None:
    def given(factor: float, answer: float) -> Run:
        event = {"step": 0, "kind": "mse", "targets": {"mean": mean, "std": std}, "factor": factor}
        outputs = {"mean": answer, "std": 0.02 * factor}
        return make_run(delta_rms=[1.0, 1.0], events={"loss_kind": [event | {"outputs": outputs}]})

    assert unscaled_targets(given(std, mean + 0.1 * std)) == ()
    assert unscaled_targets(given(std * 1e-3, mean))
    assert unscaled_targets(given(std * 1e3, mean))
    assert unscaled_targets(given(1.0, 0.1))
    if abs(mean) > 10 * std:
        assert unscaled_targets(given(std, 0.1 * std)), "the mean is out of reach"


def of_terms(*terms: dict[str, object]) -> Run:
    event = {"step": 0, "kind": "sum", "targets": None, "outputs": None, "terms": list(terms)}
    return make_run(delta_rms=[1.0, 1.0], events={"loss_kind": [event]})


def test_each_term_of_a_sum_is_judged_by_its_own_targets() -> None:
    named = {"kind": "cross_entropy", "targets": None, "layer": "fc1"}
    priced = {"kind": "mse", "targets": {"mean": 900.0, "std": 300.0}, "outputs": None, "layer": "fc2"}
    sound = {"kind": "l1", "targets": {"mean": 0.1, "std": 1.0}, "outputs": None, "layer": "fc2"}
    (finding,) = unscaled_targets(of_terms(named, priced, sound))
    assert "of fc2 have mean 900 and standard deviation 300" in finding.summary
    assert "9e+05 times" in finding.consequence
    assert "(y − 900) / 300" in finding.summary
    assert unscaled_targets(of_terms(named, sound)) == ()
    with pytest.raises(NotRecorded):
        unscaled_targets(of_terms(named, named))
