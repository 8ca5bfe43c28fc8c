"""Every remedy has a disease, is prescribed for it, and is told to cure only where it does."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from isometry.classics.build import diseases
from isometry.classics.build.networks import mlp
from isometry.classics.classic import Verdict
from isometry.classics.experiments import cures as module
from isometry.classics.experiments.cures import CASES, Case, Cured, cures_network, cures_training
from isometry.diagnosis.finding import Finding, Severity
from isometry.network.edits import Clip, ScaleRate
from isometry.network.experiment import Experiment
from isometry.network.trial import Course
from isometry.report.chart import Line, Points
from isometry.treatment.prescription import Effect, Prescription
from isometry.treatment.remedy import remedies
from tests.classics.studies import fast_study

FINDING = Finding(Severity.HARMS, "It was found.", problem="learning_rate_too_high", code="U101")


def plan(remedy: str, *edits) -> Prescription:
    return Prescription(remedy, edits, Effect.RETUNES, None, ("U101",), f"Do {remedy}.", "")


def arm(*scores: float) -> tuple[Course, ...]:
    return tuple(Course(seed, np.array([1.0]), score) for seed, score in enumerate(scores))


def cured(before, after, case: Case = CASES[0]) -> Cured:
    return Cured(case, (FINDING,), plan(case.remedy), arm(*before), arm(*after))


def test_every_remedy_of_this_package_has_a_disease():
    ours = {one.name for one in remedies() if one.propose.__module__.startswith("isometry.")}
    assert {case.remedy for case in CASES} == ours


def test_every_disease_has_a_remedy():
    assert {case.disease for case in CASES} == set(diseases.DISEASES)


def test_the_first_plan_that_is_the_remedys_alone_is_chosen():
    plans = (
        plan("lower-rate", ScaleRate(0.1)),
        plan("lower-rate + clip", ScaleRate(0.1), Clip(1.0)),
        plan("clip", Clip(2.0)),
        plan("clip", Clip(10.0, "percentile")),
    )
    assert Case("clip", "any").chosen(plans) is plans[2]
    assert Case("clip", "any", by="percentile").chosen(plans) is plans[3]
    assert Case("clip", "any", by="adaptive").chosen(plans) is None
    assert Case("warm-up", "any").chosen(plans) is None


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((0.1, 0.1, 0.2), (0.9, 0.8, 0.9), Verdict.STANDS),
        ((0.1, 0.1, 0.2), (0.1, 0.9, 0.2), Verdict.FALLS),  # one lucky seed
        ((0.9, 0.8, 0.9), (0.1, 0.1, 0.2), Verdict.FALLS),
        ((math.nan,) * 3, (0.9, 0.8, 0.9), Verdict.STANDS),
        ((math.nan,) * 3, (0.9, math.nan, 0.9), Verdict.FALLS),  # it still breaks down
    ],
)
def test_a_claim_stands_where_the_interval_excludes_zero_or_breakdowns_vanish(before, after, verdict):
    assert module._claim(cured(before, after)).verdict is verdict


def test_a_remedy_that_is_not_proposed_is_told():
    claim = module._claim(Cured(CASES[0], (FINDING,), None, arm(0.1, 0.1, 0.1)))
    assert claim.verdict is Verdict.FALLS
    assert "U101 learning rate too high" in claim.measured
    assert "proposes nothing" in claim.measured


def test_the_picture_has_every_seed_and_shows_what_broke_down():
    chart = module._scores_chart([cured((math.nan, 0.1, 0.3), (0.9, 0.8, 1.0)), cured((0.5,) * 3, (0.6,) * 3)])
    points = {shape.words: shape for shape in chart.of(Points)}
    assert len(points["one seed each"].x) == 11
    assert (points["broke down"].x.tolist(), points["broke down"].y.tolist()) == ([0.0], [0.0])
    lines = chart.of(Line)
    assert [line.x.tolist() for line in lines] == [[pytest.approx(0.4 / 3), pytest.approx(0.9)], [0.5, 0.6]]
    assert [row[3:6] for row in chart.table.rows] == [
        ("0.20 (1 of 3 break down)", "0.90", "0.733"),
        ("0.50", "0.60", "0.1"),
    ]


def test_answers_that_are_no_numbers_have_no_score():
    inputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [3.0]])
    lost = nn.Linear(1, 1)
    nn.init.constant_(lost.weight, math.nan)
    assert math.isnan(diseases.explained(inputs, targets)(lost))
    assert math.isnan(diseases.right(inputs, torch.tensor([0, 0]))(lost))
    exact = nn.Linear(1, 1)
    nn.init.constant_(exact.weight, 2.0)
    nn.init.constant_(exact.bias, -1.0)
    assert diseases.explained(inputs, targets)(exact) == pytest.approx(1.0)
    nn.init.constant_(exact.bias, 100.0)
    assert diseases.explained(inputs, targets)(exact) == 0.0


@pytest.mark.slow
def test_three_remedies_cure_networks_and_bring_delta_back(tmp_path):
    exhibit = cures_network(fast_study(tmp_path, seeds=3))
    assert len(exhibit.claims) == 3
    assert exhibit.as_expected
    told = [[float(cell.replace("−", "-")) for cell in row[2:]] for row in exhibit.charts[1].table.rows]
    assert all(abs(after) < abs(before) / 2 for before, after in told)


@pytest.mark.slow
def test_three_remedies_cure_trainings(tmp_path):
    exhibit = cures_training(fast_study(tmp_path, seeds=3))
    assert len(exhibit.claims) == 3
    assert exhibit.as_expected


def _healthy() -> Experiment:
    return diseases.on_digits(lambda: mlp(diseases.layers(2), "relu"), diseases.adam(3e-3), epochs=4)


@pytest.mark.slow
def test_a_healthy_network_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(diseases, "DISEASES", dict.fromkeys(diseases.DISEASES, _healthy))
    monkeypatch.setattr("isometry.treatment.engines.pool.cores", lambda: 1)  # other processes would not be patched
    exhibit = cures_network(fast_study(tmp_path, seeds=2))
    assert [claim.verdict for claim in exhibit.claims] == [Verdict.FALLS] * 3
    assert all("proposes nothing" in claim.measured for claim in exhibit.claims)
    assert len(exhibit.charts) == 1


@pytest.mark.slow
def test_a_change_that_does_nothing_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "prescribe", lambda diagnosis: [plan(case.remedy, ScaleRate(1.0)) for case in module.OF_TRAININGS[:3]]
    )
    claims = cures_training(fast_study(tmp_path, seeds=2)).claims
    assert [claim.verdict for claim in claims] == [Verdict.FALLS] * 3
    assert all("the same score from every seed" in claim.measured for claim in claims)
