"""The paper's findings come out, and networks that are not sick make its claims fall."""

import numpy as np
import pytest

from isometry.classics.build import initialising
from isometry.classics.classic import Verdict
from isometry.classics.experiments import glorot_bengio as module
from isometry.classics.experiments.glorot_bengio import Plateau, Start, glorot_bengio
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_the_paper_s_findings_come_out(tmp_path):
    exhibit = glorot_bengio(fast_study(tmp_path, seeds=5))
    assert exhibit.as_expected
    before = exhibit.numbers["before_training"]["sigmoid, standard"]
    lost = np.log10(np.array(before["delta_rms"])[:, -1] / np.array(before["delta_rms"])[:, 0])
    # sqrt(1/3) and at most 1/4 from each of four layers
    assert np.median(lost) == pytest.approx(4 * np.log10(4 * np.sqrt(3)), rel=0.05)


def test_orthogonal_weights_in_place_of_standard_ones_are_found_out(tmp_path, monkeypatch):
    from torch import nn

    monkeypatch.setattr(initialising, "standard", lambda weight: nn.init.orthogonal_(weight, gain=1.2))
    study = fast_study(tmp_path, seeds=3)
    starts: dict[tuple[str, str], Start] = {
        (activation, law): module._start(study, (activation, law))
        for activation in module.ACTIVATIONS
        for law in (module.STANDARD, module.NORMALISED)
    }
    assert module._delta_claim(starts).verdict is Verdict.FALLS
    assert module._activation_claim(starts).verdict is Verdict.FALLS
    assert module._gradient_claim(starts).verdict is Verdict.FALLS


def test_sigmoid_networks_that_learn_at_once_are_found_out():
    learning = Plateau(losses=np.full((4, 6), 0.5), means=np.full((4, 6, 4), 0.5))
    stuck = Plateau(losses=np.full((4, 6), 2.3), means=np.full((4, 6, 5), 0.0))
    assert module._saturation_claim(learning).verdict is Verdict.FALLS
    assert module._escape_claim({4: learning, 5: learning}).verdict is Verdict.FALLS
    assert module._escape_claim({4: stuck, 5: stuck}).verdict is Verdict.FALLS


def test_what_never_happens_cannot_stand():
    learning = Plateau(losses=np.full((4, 6), 0.5), means=np.full((4, 6, 4), 0.5))
    stuck = Plateau(losses=np.full((4, 6), 2.3), means=np.full((4, 6, 5), 0.0))
    assert module._escape_claim({4: learning, 5: stuck}).verdict is Verdict.PARTLY


def test_lower_layers_that_are_above_the_middle_in_order_let_the_claim_stand():
    means = np.tile([0.52, 0.6, 0.7, 0.01], (6, 6, 1))
    stuck = Plateau(losses=np.full((6, 6), 2.3), means=means)
    assert module._saturation_claim(stuck).verdict is Verdict.STANDS
    means[3:, :, 0] = 0.45
    assert module._saturation_claim(Plateau(stuck.losses, means)).verdict is Verdict.PARTLY


def test_laws_that_make_no_difference_are_found_out():
    alike = np.linspace(0.02, 0.03, 8)
    less, least = 0.9 * alike, 0.5 * alike
    kinds = [(activation, law) for activation in module.SYMMETRIC for law in (module.STANDARD, module.NORMALISED)]
    same = dict(zip(kinds, (alike, alike, alike, alike), strict=True))
    steady = dict(zip(kinds, (alike, least, alike, less), strict=True))
    assert module._error_claim(same).verdict is Verdict.FALLS
    assert module._softsign_claim(same).verdict is Verdict.FALLS
    assert module._error_claim(steady).verdict is Verdict.STANDS
    assert module._softsign_claim(steady).verdict is Verdict.STANDS
