"""Checks and predictions in a terminal."""

import re

import pytest

import isometry  # noqa: F401  registers how values are shown
from isometry.report.checks.text import check_text, prediction_text
from tests.report.checks.made import CHECKS, deep, sick

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_a_sick_network_reads_as_designed():
    told = check_text(sick(), width=100, closing=[("report", "check.html"), ("next", "isometry fix train.py")])
    head, theory, layers, changes, jacobian, last = (
        part.splitlines() for part in re.split(r"\n\n(?=What|Layer|How|checked)", told)
    )
    assert head[0] == "isometry  Drawn  ·  12 layers, 49,920 parameters  ·  20 networks drawn anew"
    assert head[2].split() == ["STOPS", "vanishing", "gradient", "fc1", "…", "fc11,", "confidence", "0.97"]
    assert head[3] == "  δ loses 0.63 decades per layer: fc1 receives 1/10,000,000 of what reaches fc12."
    assert theory[0] == "What theory says"
    assert layers[0] == "Layer by layer, in decades (factors of ten)"
    assert layers[2] == "  fc1    sigmoid  −7.00  −7.12 … −6.85  −0.20  −0.30 … −0.10"
    assert layers[-1] == "  Every measured value lies in its predicted band."
    assert changes[:7] == [
        "What would change it",
        "  change                           δ              z",
        "  layer norm after sigmoid     +0.07  ± 0.09  +0.11",
        "  He + ReLU                    −0.10  ± 0.21  −0.20",
        "  tanh at its critical point   −0.21  ± 0.08  +0.02",
        "  layer norm before sigmoid    −4.08  ± 0.12      0  no rescue",
        "  as it is                     −7.00  ± 0.13  −0.22  ◂ this network",
    ]
    assert jacobian[0] == "How near to an isometry"
    assert last == [
        "checked and fine: exploding gradient, non-finite, poor initialization",
        "not checked: loss spike (only a training shows it)",
        "report  check.html        next  isometry fix train.py",
    ]


def test_a_deep_network_is_told_by_what_departs():
    told = check_text(deep(), width=100)
    assert "  … 14 more inside their bands\n" in told
    assert "Layers that stand out\n  fc41: δ loses 1.20 decades across it" in told
    assert "fc9: its weights are 0.30 decades smaller" in told
    assert "fc10: its weights" not in told
    assert "4 more layers are out of line with the others of their kind." in told


@pytest.mark.parametrize("width", [50, 80, 100])
@pytest.mark.parametrize("name", CHECKS)
def test_no_line_is_wider_than_asked(name, width):
    check = CHECKS[name]()
    for told in (check_text(check, width=width), prediction_text(check.prediction, width=width)):
        assert max(len(line) for line in told.splitlines()) <= width


@pytest.mark.parametrize("name", CHECKS)
def test_colour_says_nothing_that_the_words_do_not(name):
    plain, coloured = (check_text(CHECKS[name](), width=90, colour=colour) for colour in (False, True))
    assert "\x1b" not in plain
    assert coloured != plain
    assert ANSI.sub("", coloured) == plain


def test_printing_shows_words():
    check = sick()
    assert str(check).startswith("isometry  Drawn")
    assert "δ is predicted to fall by 7.0 decades from fc12 to fc1." in str(check.prediction)
