"""What an arm of a trial says beside the one without a change."""

import numpy as np
import pytest

from isometry.network.trial import LAST_WORDS, Course
from isometry.treatment.arms import saying_nothing


def course(fault):
    return Course(0, np.ones(2), 0.5, fault=fault)


@pytest.mark.parametrize(
    ("treated", "untreated", "left_out"),
    [
        (f"it left with exit code 3{LAST_WORDS}loss 0.1", f"it left with exit code 3{LAST_WORDS}loss 1.4", (0,)),
        (f"it left with exit code 3{LAST_WORDS}loss 0.1", f"it left with exit code 4{LAST_WORDS}loss 0.1", ()),
        ("it left with exit code 3", "", ()),
        ("", "", ()),
    ],
)
def test_one_fault_is_the_same_whatever_was_printed_last(treated, untreated, left_out):
    assert saying_nothing([course(treated)], [course(untreated)]) == left_out
