"""Units are judged over enough steps and enough samples, not over more."""

import torch

from isometry.adapters.torch.recording import WINDOW, WINDOW_SAMPLES, ActiveUnits


def test_a_unit_silent_for_the_whole_window_is_dead() -> None:
    units = ActiveUnits()
    for step in range(3 * WINDOW):
        units.add(step, torch.tensor([True, False, step == 0]), WINDOW_SAMPLES)
    assert units.dead() == (2, 3, WINDOW * WINDOW_SAMPLES)


def test_small_batches_are_collected_until_they_are_enough() -> None:
    units = ActiveUnits()
    for step in range(200):
        units.add(step, torch.tensor([step == 190, False]), 32)
    assert units.dead() == (1, 2, WINDOW_SAMPLES)


def test_micro_batches_of_a_step_are_one_entry() -> None:
    units = ActiveUnits()
    units.add(0, torch.tensor([True, False]), 4)
    units.add(0, torch.tensor([False, False]), 4)
    assert units.dead() == (1, 2, 8)
