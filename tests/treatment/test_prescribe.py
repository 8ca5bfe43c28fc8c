"""What is prescribed first, to drawn diagnoses and to small networks that were trained sick."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isometry
from isometry.diagnosis.finding import AS_IT_IS, Cause, Diagnosis, Evidence, Forecast, Severity
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleRate,
    Standardise,
)
from isometry.network.signals import Signal
from isometry.treatment import prescribe as room
from isometry.treatment.prescribe import prescribe
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import remedies, remedy
from tests.treatment.test_remedies import ADAM, FORETOLD, HIDDEN, SGD, finding, run_of


def diagnosis_of(*findings, run=None):
    return Diagnosis(findings, (), (), run or run_of(ADAM))


def remedies_of(*findings, run=None, **wanted):
    return [plan.remedy for plan in prescribe(diagnosis_of(*findings, run=run), **wanted)]


VANISHING = finding("vanishing_gradient", code="G101", layers=HIDDEN, forecasts=FORETOLD)
INPUT = finding(
    "unscaled_input",
    code="D101",
    layers=("fc1",),
    evidence=(Evidence("rms of the input", 140.0, 30.0, reads=((Signal.INPUT, "rms"),)),),
)
SLOW = finding("learning_rate_too_low", code="U102")


# Drawn diagnoses ------------------------------------------------------------------------------------------------------


def test_health_and_notes_need_no_prescription():
    assert prescribe(diagnosis_of()) == ()
    assert prescribe(diagnosis_of(replace(VANISHING, severity=Severity.NOTE))) == ()


def test_gentle_changes_come_first_among_those_that_are_foretold_to_help_alike():
    # All leave less than a decade.
    assert remedies_of(VANISHING) == ["critical-initialisation", "add-skip", "replace-activation", "insert-norm"]


def test_what_leaves_more_comes_later_however_gentle():
    forecasts = (
        Forecast("norm", (InsertNorm(HIDDEN, "layer"),), 0.1),
        Forecast("He", (Reinitialise(HIDDEN, 1.4),), -1.9),
        Forecast(AS_IT_IS, (), -6.0),
    )
    assert remedies_of(replace(VANISHING, forecasts=forecasts)) == ["insert-norm", "critical-initialisation"]


def test_effects_that_are_not_wanted_are_left_out():
    assert remedies_of(VANISHING, effects=[Effect.REINITIALISES]) == ["critical-initialisation"]
    assert remedies_of(VANISHING, effects=()) == []


def test_root_causes_come_before_their_consequences():
    consequence = replace(VANISHING, follows=("D101",))
    found = remedies_of(consequence, INPUT)
    assert found[0] == "standardise-inputs"
    assert found.index("insert-norm") < found.index("add-skip")


def test_a_cause_that_is_only_noted_does_not_make_a_consequence():
    found = remedies_of(replace(VANISHING, follows=("W101",)), INPUT)
    assert "standardise-inputs + critical-initialisation" not in found
    assert found[:2] == ["standardise-inputs", "critical-initialisation + standardise-inputs"]


def test_equal_edits_are_told_once_with_all_that_they_answer():
    again = replace(VANISHING, code="G201", problem="exploding_gradient")
    plans = prescribe(diagnosis_of(VANISHING, again))
    first = next(plan for plan in plans if plan.remedy == "critical-initialisation")
    assert first.answers == ("G101", "G201")
    assert len({plan.edits for plan in plans}) == len(plans)


def test_two_root_causes_are_treated_together_right_behind_the_first():
    plans = prescribe(diagnosis_of(VANISHING, INPUT))
    pair = plans[1]
    assert [type(edit) for edit in pair.edits] == [Reinitialise, Standardise]
    assert (pair.effect, pair.expected) == (Effect.REINITIALISES, -0.2)
    assert set(pair.answers) == {"G101", "D101"}
    assert pair.remedy == "critical-initialisation + standardise-inputs"


def test_a_network_that_is_called_a_consequence_is_changed_together_with_the_inputs():
    plans = prescribe(diagnosis_of(replace(VANISHING, follows=("D101",)), INPUT))
    assert [type(edit) for edit in plans[0].edits] == [Standardise]
    assert [type(edit) for edit in plans[2].edits] == [Reinitialise, Standardise]


def test_a_rate_that_is_called_a_consequence_is_tried_with_the_cure_of_its_cause():
    slow = replace(SLOW, follows=("G101",))
    plans = prescribe(diagnosis_of(VANISHING, slow, run=run_of(ADAM | {"lr": 1e-6})))
    assert [type(edit) for edit in plans[2].edits] == [Reinitialise, ScaleRate]


def test_under_plain_descent_it_is_tried_with_adam_as_its_rate_cannot_be_told():
    plans = prescribe(diagnosis_of(VANISHING, replace(SLOW, follows=("G101",)), run=run_of(SGD)))
    assert [type(edit) for edit in plans[2].edits] == [Reinitialise, ChangeOptimizer]
    assert not any(isinstance(edit, ScaleRate) for plan in plans for edit in plan.edits)


def test_no_pair_sets_the_rate_twice():
    fast = finding("learning_rate_too_high", code="U101")
    flat = finding("loss_not_decreasing", code="L101")
    for plan in prescribe(diagnosis_of(fast, flat, run=run_of(SGD, ratio=2.0))):
        kinds = [type(edit) for edit in plan.edits]
        assert len(set(kinds)) == len(kinds)
        assert not (ScaleRate in kinds and {ChangeOptimizer, Clip} & set(kinds))


def test_a_faulty_remedy_costs_nobody_else_a_proposal(monkeypatch):
    @remedy("broken", treats=["vanishing_gradient"], effect=Effect.RETUNES)
    def broken(diagnosis, found):
        """Fails."""
        raise ZeroDivisionError

    monkeypatch.setattr(room, "remedies", lambda: (broken, *remedies()))
    with pytest.warns(RuntimeWarning, match="Remedy broken failed on G101"):
        assert len(prescribe(diagnosis_of(VANISHING))) == 4


def test_a_circle_of_consequences_has_an_end():
    one, other = replace(VANISHING, follows=("D101",)), replace(INPUT, follows=("G101",))
    assert len(prescribe(diagnosis_of(one, other))) > 4


def test_what_no_edit_can_change_has_no_prescription():
    for problem, cause in (("no_gradient", "cut off"), ("loss_not_decreasing", "sign"), ("non_finite", "data")):
        assert prescribe(diagnosis_of(finding(problem, causes=(Cause(cause, None, ""),)))) == ()


def test_a_prescription_is_plain_data():
    for plan in prescribe(diagnosis_of(VANISHING, INPUT)):
        told = json.loads(json.dumps(plan.to_dict()))
        assert told["effect"] in ("retunes", "reinitialises", "restructures")
        assert told["edits"][0]["edit"] == type(plan.edits[0]).__name__
        assert told.keys() == {"remedy", "edits", "effect", "expected", "answers", "words", "patch"}


# Trained networks -----------------------------------------------------------------------------------------------------


def stack(activation, depth, *, width=32, draw=None, bias=None):
    parts = []
    for place in range(depth):
        parts += [nn.Linear(width if place else 20, width), activation()]
    model = nn.Sequential(*parts, nn.Linear(width, 4))
    for layer in model[::2]:
        if draw is not None:
            draw(layer.weight)
            nn.init.constant_(layer.bias, bias or 0.0)
    return model


def he(weight):
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


class Memory(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.core, self.head = nn.RNN(4, 24, batch_first=True, nonlinearity="relu"), nn.Linear(24, 4)
        nn.init.orthogonal_(self.core.weight_hh_l0, gain)

    def forward(self, x):
        return self.head(self.core(x)[0][:, -1])


def vectors(scale=1.0, shift=0.0):
    drawn = torch.Generator().manual_seed(7)
    x, teacher = torch.randn(512, 20, generator=drawn), torch.randn(20, 4, generator=drawn)
    return scale * x + shift, (x @ teacher).argmax(1)


def sequences():
    drawn = torch.Generator().manual_seed(3)
    x = torch.randn(256, 40, 4, generator=drawn)
    return x, x[:, 0].argmax(1)


def adam(rate):
    return lambda parameters: torch.optim.Adam(parameters, lr=rate)


def sgd(rate):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


def prescribed(folder, build, optimizer, data, epochs=8):
    torch.manual_seed(0)
    model, (inputs, targets) = build(), data
    made = optimizer(model.parameters())
    with isometry.watch(model, made, run=folder / "run") as watch:
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs)).split(32):
                made.zero_grad()
                F.cross_entropy(model(inputs[rows]), targets[rows]).backward()
                made.step()
    return prescribe(isometry.diagnose(watch.run))


SICK = {
    "ReLU with Xavier's weights": (lambda: stack(nn.ReLU, 20, draw=nn.init.xavier_normal_), sgd(0.05), Reinitialise),
    "ReLU with N(0, 1)": (lambda: stack(nn.ReLU, 10, draw=nn.init.normal_), sgd(0.01), Reinitialise),
    "tanh with N(0, 1)": (lambda: stack(nn.Tanh, 10, draw=nn.init.normal_), adam(1e-3), Reinitialise),
    "born dead": (lambda: stack(nn.ReLU, 4, draw=he, bias=-8.0), adam(1e-3), Reinitialise),
    "all zeros": (lambda: stack(nn.ReLU, 4, draw=nn.init.zeros_), adam(1e-3), Reinitialise),
    "fast Adam": (lambda: stack(nn.ReLU, 3, draw=he), adam(1.0), ScaleRate),
    "fast SGD": (lambda: stack(nn.ReLU, 3, draw=he), sgd(20.0), ScaleRate),
    "slow Adam": (lambda: stack(nn.ReLU, 3, draw=he), adam(1e-6), ScaleRate),
    "slow SGD": (lambda: stack(nn.ReLU, 3, draw=he), sgd(1e-5), ScaleRate),
}


@pytest.mark.parametrize("case", SICK)
def test_the_first_prescription_is_what_cures(case, tmp_path):
    build, optimizer, kind = SICK[case]
    plans = prescribed(tmp_path, build, optimizer, vectors())
    assert {type(edit) for edit in plans[0].edits} == {kind}
    assert all(plan.patch and plan.words and plan.answers for plan in plans)


def test_loud_inputs_are_standardised_first(tmp_path):
    plans = prescribed(tmp_path, lambda: stack(nn.Tanh, 3), adam(1e-3), vectors(60, 128))
    assert plans[0].edits == (Standardise(),)


def test_an_exploding_memory_is_drawn_orthogonal_and_its_gradients_are_clipped(tmp_path):
    plans = prescribed(tmp_path, lambda: Memory(1.8), sgd(0.01), sequences())
    assert plans[0].edits == (Reinitialise(("core",), 1.0, orthogonal=True),)
    assert any(isinstance(plan.edits[0], Clip) for plan in plans)


def test_rates_end_near_where_these_networks_learn_best(tmp_path):
    for place, rate in enumerate((1.0, 1e-6)):
        plans = prescribed(tmp_path / str(place), lambda: stack(nn.ReLU, 3, draw=he), adam(rate), vectors())
        assert 1e-3 <= rate * plans[0].edits[0].factor <= 2e-2
    for place, rate in enumerate((20.0, 1e-5)):
        plans = prescribed(tmp_path / f"sgd{place}", lambda: stack(nn.ReLU, 3, draw=he), sgd(rate), vectors())
        assert 0.05 <= rate * plans[0].edits[0].factor <= 1.0


def test_a_deep_sigmoid_network_gets_another_structure_and_no_new_rate(tmp_path):
    plans = prescribed(tmp_path, lambda: stack(nn.Sigmoid, 12), adam(1e-3), vectors())
    assert plans[0].effect == Effect.RESTRUCTURES
    assert abs(plans[0].expected) < 1
    kinds = [type(plan.edits[0]) for plan in plans[:4]]
    assert {InsertNorm, AddSkip, ReplaceActivation} == set(kinds)
    assert all(edit.after for plan in plans for edit in plan.edits if isinstance(edit, InsertNorm))
    assert not any(isinstance(edit, ScaleRate) for plan in plans for edit in plan.edits)


@pytest.mark.parametrize(
    ("build", "optimizer"),
    [
        pytest.param(lambda: stack(nn.ReLU, 3, draw=he), adam(3e-3), id="ReLU"),
        pytest.param(lambda: stack(nn.Tanh, 3), sgd(0.5), id="tanh"),
    ],
)
def test_healthy_networks_get_nothing(build, optimizer, tmp_path):
    assert prescribed(tmp_path, build, optimizer, vectors()) == ()


def test_names_of_layers_decide_nothing(tmp_path):
    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu_he_healthy = stack(nn.Sigmoid, 12)

        def forward(self, x):
            return self.relu_he_healthy(x)

    plans = prescribed(tmp_path / "a", Renamed, adam(1e-3), vectors())
    others = prescribed(tmp_path / "b", lambda: stack(nn.Sigmoid, 12), adam(1e-3), vectors())
    assert [plan.remedy for plan in plans] == [plan.remedy for plan in others]
    assert [plan.expected for plan in plans] == [plan.expected for plan in others]
