"""How the change to make by hand is told."""

from dataclasses import replace

from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.report.outcomes.text import prescription_text
from isometry.report.outcomes.words import patch_lines, state
from isometry.treatment.prescription import Effect, Prescription
from tests.runs import make_run

DIFF = """\
--- train.py
+++ train.py
@@ -1,3 +1,3 @@
 def build():
-\treturn nn.Tanh()
+\treturn nn.ReLU()\x1b

# What the diff leaves to be done:

- x
+ y
"""


def plan(patch):
    return Prescription("replace-activation", (), Effect.RESTRUCTURES, None, ("G101",), "Take another.", patch)


def test_lines_of_a_diff_are_told_apart_and_nothing_in_them_is_obeyed():
    told = patch_lines(DIFF.replace("\n", "\r\n"))
    assert [part for part, _ in told] == ["", "", "place", "", "removed", "added", *[""] * 5]
    assert told[4][1] == "-\treturn nn.Tanh()"
    assert told[5][1] == "+\treturn nn.ReLU()�"


def test_what_is_no_diff_has_no_added_lines():
    assert {part for part, _ in patch_lines("+ 1\n- 2\n@ 3")} == {""}


def test_a_terminal_shows_added_lines_in_green_and_the_same_words_without():
    plain, coloured = prescription_text(plan(DIFF)), prescription_text(plan(DIFF), colour=True)
    assert "\x1b[32m+\treturn nn.ReLU()�\x1b[0m" in coloured
    assert "\x1b[31m-\treturn nn.Tanh()\x1b[0m" in coloured
    assert "    +\treturn nn.ReLU()�" in plain.splitlines()
    assert "\x1b" not in plain


def test_a_problem_with_several_findings_is_named_once():
    found = (Finding(Severity.HARMS, "inputs", problem="unscaled_input"), Finding(Severity.NOTE, "n"))
    targets = Finding(Severity.SLOWS, "targets", problem="unscaled_input")
    titled = replace(targets, title="answers out of reach")
    run = make_run(delta_rms=[1.0, 1.0])
    assert state(Diagnosis((*found, targets), (), (), run)) == "unscaled input (HARMS, 2 findings)"
    assert state(Diagnosis(found, (), (), run)) == "unscaled input (HARMS)"
    assert state(Diagnosis((*found, titled), (), (), run)) == "unscaled input (HARMS); answers out of reach (SLOWS)"
    assert state(Diagnosis(found[1:], (), (), run)) == "healthy"
