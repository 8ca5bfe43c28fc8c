"""Level, trend and jumps of curves are moved by neither outliers nor scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.statistics.guessing import guessing_loss
from isometry.statistics.series import course, jumps, local_level, robust_spread


def line(slope: float, *, noise: float = 0.0, steps: int = 400) -> np.ndarray:
    return 1.0 + slope * np.linspace(0, 1, steps) + noise * np.random.default_rng(0).normal(size=steps)


def test_slope_of_a_line_is_its_change_over_the_run() -> None:
    read = course(line(-0.5))
    assert read is not None
    assert read.trend == pytest.approx(-0.5, rel=0.06)  # medians of the first and last block lie half a block inside
    assert read.late_share == pytest.approx(0.5, abs=0.05)
    assert read.certainty < -5


def test_outliers_move_nothing() -> None:
    clean, spoilt = line(-0.5, noise=0.01), line(-0.5, noise=0.01)
    spoilt[::50] = 1e6
    one, two = course(clean), course(spoilt)
    assert one is not None and two is not None
    assert two.trend == pytest.approx(one.trend, abs=0.02)
    assert two.noise == pytest.approx(one.noise, rel=0.2)


def test_noise_has_no_certain_trend() -> None:
    scores = [course(np.random.default_rng(seed).normal(size=400)) for seed in range(100)]
    certain = [read for read in scores if read is not None and abs(read.certainty) > 3]
    assert len(certain) <= 2  # 1 in 370 by chance


def test_too_few_values_are_no_course() -> None:
    assert course(np.ones(39)) is None
    assert course(np.full(400, np.nan)) is None


@given(st.sampled_from([1e-12, 1e-3, 1e6]))
def test_scale_goes_through(scale: float) -> None:
    plain, scaled = course(line(-0.5, noise=0.1)), course(scale * line(-0.5, noise=0.1))
    assert plain is not None and scaled is not None
    assert scaled.end == pytest.approx(scale * plain.end)
    assert scaled.certainty == plain.certainty


def test_jump_is_told_once_with_its_length() -> None:
    values = line(0.0, noise=0.05)
    values[200:230] += 5.0
    (jump,) = jumps(values, window=50, score=10.0, record=3.0)
    assert (jump.at, jump.length, jump.back) == (200, 30, True)
    assert jump.rise == pytest.approx(5.0, abs=0.3)


def test_jump_to_the_end_is_not_back() -> None:
    values = line(0.0, noise=0.05)
    values[300:] += 5.0
    (jump,) = jumps(values, window=50, score=10.0, record=3.0)
    assert not jump.back


def test_jump_out_of_a_constant_curve_is_found() -> None:
    values = np.ones(100)
    values[70] = 2.0
    (jump,) = jumps(values, window=50, score=10.0, record=3.0)
    assert jump.score == np.inf


def test_local_level_follows_a_step_and_ignores_a_spike() -> None:
    values = np.r_[np.zeros(50), np.ones(50)]
    values[20] = 9.0
    level = local_level(values, 9)
    assert level[20] == 0.0
    assert level[80] == 1.0
    assert len(level) == len(values)


def test_spread_of_a_normal_law_is_its_standard_deviation() -> None:
    assert robust_spread(np.random.default_rng(0).normal(size=20_000)) == pytest.approx(1.0, rel=0.03)
    assert np.isnan(robust_spread(np.zeros(0)))


@pytest.mark.parametrize(
    ("kind", "classes", "targets", "expected"),
    [
        ("cross_entropy", 10, None, np.log(10)),
        ("binary_cross_entropy", None, {"mean": 0.5, "std": 0.5}, np.log(2)),
        ("mse", None, {"mean": 7.0, "std": 3.0}, 9.0),
        ("l1", None, {"mean": 7.0, "std": 1.0}, np.sqrt(2 / np.pi)),
        ("cross_entropy", None, None, None),
        ("binary_cross_entropy", None, {"mean": 1.0, "std": 0.0}, None),
        ("unknown", None, {"mean": 0.0, "std": 1.0}, None),
    ],
)
def test_guessing(kind: str, classes: int | None, targets: dict[str, float] | None, expected: float | None) -> None:
    told = guessing_loss(kind, classes=classes, targets=targets)
    assert told == (None if expected is None else pytest.approx(expected))
