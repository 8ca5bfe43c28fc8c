"""Activation against initialisation, and what is said where one of them does nothing."""

import numpy as np
import pytest

from isometry.classics.classic import Verdict
from isometry.classics.experiments import circles_glorot
from tests.classics.studies import fast_study
from tests.classics.swaps import swap_activation


@pytest.mark.slow
def test_the_activation_matters_more(tmp_path):
    exhibit = circles_glorot.circles_glorot(fast_study(tmp_path))
    assert exhibit.as_expected, [claim.measured for claim in exhibit.claims if not claim.as_expected]
    shares = exhibit.numbers["shares_of_variance"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["activation"] > 5 * shares["initialisation"]


@pytest.mark.slow
def test_where_all_activations_are_one_the_claim_falls(tmp_path, monkeypatch):
    swap_activation(monkeypatch, "*", "sigmoid")
    exhibit = circles_glorot.circles_glorot(fast_study(tmp_path, seeds=4))
    assert exhibit.claims[0].verdict is Verdict.FALLS
    assert exhibit.numbers["shares_of_variance"]["activation"] == 0


def grid(accuracy) -> dict[tuple[str, str], circles_glorot.Result]:
    """A result for each of nine combinations, from mean accuracies. shape (3, 3)"""
    seeds = np.linspace(-0.01, 0.01, 5)
    return {
        (a, i): circles_glorot.Result(accuracy[row][column] + seeds, np.ones((5, 2)), ("first", "last"))
        for row, a in enumerate(circles_glorot.ACTIVATIONS)
        for column, i in enumerate(circles_glorot.INITIALISATIONS)
    }


def test_shares_of_variance_tell_two_factors_and_their_interplay():
    rows = np.array([[0.5], [0.7], [0.9]]) + np.zeros((1, 3))
    assert circles_glorot._shares(grid(rows))["activation"] > 0.99
    assert circles_glorot._shares(grid(rows.T))["initialisation"] > 0.99
    assert circles_glorot._shares(grid([[0.9, 0.5, 0.5], [0.5, 0.9, 0.5], [0.5, 0.5, 0.9]]))["both together"] > 0.99
    assert circles_glorot._less_claim(grid(rows)).verdict is Verdict.STANDS
    assert circles_glorot._less_claim(grid(rows.T)).verdict is Verdict.FALLS


def test_one_failed_seed_in_twenty_is_no_sign_of_steadiness():
    def verdict(failed: int) -> Verdict:
        results = grid(np.full((3, 3), 0.99))
        accuracy = np.where(np.arange(20) < failed, 0.8, 0.99)
        for name, values in (("N(0, 1)", accuracy), ("Glorot", np.full(20, 0.99)), ("He", np.full(20, 0.99))):
            results["relu", name] = circles_glorot.Result(values, np.ones((20, 2)), ("first", "last"))
        return circles_glorot._relu_claim(results).verdict

    assert [verdict(failed) for failed in (0, 1, 4, 5, 20)] == [Verdict.FALLS] * 3 + [Verdict.STANDS] * 2
