"""The words that a terminal shows."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest

import isometry  # noqa: F401  registers how values are shown
from isometry.diagnosis.finding import NotChecked
from isometry.report.text import diagnosis_text, finding_text, run_text, unchecked_problems, wants_colour
from tests.report.drawn import RUNS, diagnosed, vanishing
from tests.runs import make_run

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_sick_run_reads_as_designed():
    told = diagnosis_text(diagnosed(vanishing()), width=100, closing=[("report", "r.html"), ("next", "isometry rules")])
    assert told == (
        "isometry  runs/train-1  ·  100 steps, 6 recorded  ·  watching cost 0.7 % of step time\n"
        "\n"
        "STOPS  vanishing gradient                                  fc1 … fc10, since step 0, confidence 0.97\n"
        "  δ loses 0.60 decades per layer: fc1 receives 1/1,000,000 of what reaches fc11.\n"
        "  because   −6.0 decades: the quarter slope of sigmoid, 10 times\n"
        "            −0.25 decades: the spread of z\n"
        "  so        fc1 moves by 3e-9 of its size per step.\n"
        "\n"
        "SLOWS  learning rate too low                                      fc1, since step 3, confidence 0.90\n"
        "  fc1 hardly moves.\n"
        "\n"
        "checked and fine: exploding gradient, non-finite\n"
        "not checked: loss spike, loss not decreasing (fewer than 50 steps); vanishing gradient G102 (no\n"
        "  recurrent layer)\n"
        "report  r.html        next  isometry rules"
    )


def test_health_is_one_calm_sentence_and_what_was_checked():
    told = diagnosis_text(diagnosed(vanishing(), sick=False), width=100)
    assert "HEALTHY  Nothing that slows, harms or stops this training: 4 kinds of problem were looked for." in told
    assert "checked and fine: vanishing gradient, exploding gradient, non-finite, learning rate too low" in told


@pytest.mark.parametrize("width", [50, 80, 110])
@pytest.mark.parametrize("name", RUNS)
def test_no_line_is_wider_than_asked(name, width):
    told = diagnosis_text(diagnosed(RUNS[name]()), width=width)
    assert max(len(line) for line in told.splitlines()) <= width


def test_colour_says_nothing_that_the_words_do_not():
    plain = diagnosis_text(diagnosed(vanishing()), width=90)
    coloured = diagnosis_text(diagnosed(vanishing()), width=90, colour=True)
    assert "\x1b[" not in plain
    assert coloured != plain
    assert ANSI.sub("", coloured) == plain


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
    ],
)
def test_colour_follows_the_customs_of_terminals(stream, environment, expected):
    assert wants_colour(stream, environment) is expected


def test_names_cannot_command_the_terminal():
    run = RUNS["hostile"]()
    told = diagnosis_text(diagnosed(run), width=100) + str(run)
    assert "\x1b" not in told


def test_many_reasons_are_grouped():
    told = diagnosis_text(diagnosed(vanishing()), width=110)
    assert told.count("fewer than 50 steps") == 1


def not_checked(*entries, checked=()):
    diagnosis = diagnosed(vanishing())
    return replace(diagnosis, checked=tuple(checked), not_checked=tuple(NotChecked(*entry) for entry in entries))


def test_a_problem_that_several_rules_could_not_look_for_is_named_once_or_told_apart():
    entries = [
        ("unscaled_input", "D101", "no input"),
        ("unscaled_input", "D102", "no targets"),
        ("vanishing_gradient", "G102", "no sequence"),
        ("dead_units", "A101", "no rectifier"),
        ("dead_units", "A102", "no rectifier"),
        ("loss_spike", "L201", "no loss"),
        ("loss_spike", "L202", "no loss"),
    ]
    assert unchecked_problems(not_checked(*entries, checked=["vanishing_gradient", "loss_spike"])) == [
        ("no input", ["unscaled input D101"]),
        ("no targets", ["unscaled input D102"]),
        ("no sequence", ["vanishing gradient G102"]),
        ("no rectifier", ["dead units"]),
        ("no loss", ["loss spike L201 and L202"]),
    ]


def test_printing_shows_words():
    diagnosis = diagnosed(vanishing())
    assert str(diagnosis).startswith("isometry  runs/train-1")
    assert str(diagnosis.findings[0]).startswith("STOPS  vanishing gradient")
    assert "11: fc1 … fc11" in str(diagnosis.run)


def test_what_the_reader_of_a_damaged_run_should_know_is_said():
    run = make_run(delta_rms=np.ones(3))
    run.history.notes = ("1 damaged record was left out",)
    assert "note  1 damaged record was left out" in diagnosis_text(diagnosed(run, sick=False), width=100)


def test_a_finding_and_a_run_stand_alone():
    diagnosis = diagnosed(vanishing())
    assert "because" in finding_text(diagnosis.findings[0], width=80)
    assert "curves    loss, accuracy" in run_text(diagnosis.run, width=80)
