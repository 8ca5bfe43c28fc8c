"""The variance of one neuron is what the formula says, and a wrong law of the weights is found out."""

import numpy as np
import pytest

from isometry.classics.classic import Verdict
from isometry.classics.experiments import one_neuron as module
from isometry.classics.experiments.one_neuron import one_neuron
from isometry.report.words import number
from tests.classics.studies import fast_study


def test_variance_of_z_is_n_times_that_of_the_weights(tmp_path):
    exhibit = one_neuron(fast_study(tmp_path))
    assert exhibit.as_expected
    found = {name: np.mean(values, axis=0) for name, values in exhibit.numbers["variance_of_z"].items()}
    assert found["one"] == pytest.approx(exhibit.numbers["inputs"], rel=0.1)
    assert found["he"] == pytest.approx(1, rel=0.1)
    assert found["xavier after relu"] == pytest.approx(0.5, rel=0.1)


def test_claim_and_picture_tell_the_same_number(tmp_path):
    exhibit = one_neuron(fast_study(tmp_path))
    middle = number(float(np.median(exhibit.numbers["variance_of_z"]["one"], axis=0)[-1]))
    assert f"the variance of z is {middle} at" in exhibit.claims[0].measured
    assert f"a variance of {middle}," in exhibit.charts[0].title


def test_weights_that_do_not_shrink_with_n_are_found_out(tmp_path, monkeypatch):
    class Constant(module.Law):
        def variance(self, inputs: int) -> float:
            return 0.1

        def predicted(self, inputs: int) -> float:
            return 0.5 if self.numerator == 1.0 and self.rectified else 1.0

    laws = {name: Constant(law.words, law.numerator, law.rectified) for name, law in module.LAWS.items()}
    monkeypatch.setattr(module, "LAWS", laws)
    exhibit = one_neuron(fast_study(tmp_path))
    assert [claim.verdict for claim in exhibit.claims] == [Verdict.FALLS, Verdict.FALLS]
