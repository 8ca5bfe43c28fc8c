"""Trying treatments: which are trained, from which seeds, what is concluded, and what an interruption leaves."""

import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.errors import CannotEdit, IsometryError, NotRecorded
from isometry.history.record import plain
from isometry.history.recorder import Recorder
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import Clip, Edit, Reinitialise, ScaleRate, WarmUp
from isometry.network.experiment import Experiment
from isometry.network.trial import Course
from isometry.report.outcomes.words import arm_table, headline, tone
from isometry.treatment.engines import Engine, Pool, Serial
from isometry.treatment.likeness import likeness
from isometry.treatment.outcome import Outcome
from isometry.treatment.prescription import Effect, Prescription
from isometry.treatment.study import treat

Scores = dict[tuple[Edit, ...], tuple[float, ...]]
UNTREATED: tuple[Edit, ...] = ()
GENTLE, WARM, CLIP = (ScaleRate(0.1),), (WarmUp(10),), (Clip(1.0),)
REDRAW = (Reinitialise(("fc1", "fc2"), 1.4), ScaleRate(0.5))
STUCK = (0.10, 0.11, 0.12)
GOOD = (0.90, 0.92, 0.91)


def write_run(folder: Path, *, sick: bool) -> Path:
    with Recorder(folder, provenance={"sick": sick}) as recorder:
        layers = (Layer(name="fc1", kind="linear", type="Linear"),)
        recorder.begin(Architecture(layers, model="Drawn", framework="none"), [("delta", "rms")])
        recorder.record(0, {("delta", "rms"): np.ones(1)})
        recorder.scalar(0, "loss", 1.0)
    return folder


def build() -> str:
    return "model"


def loss(output: float, target: float) -> float:
    return output - target


@dataclass(frozen=True)
class FakeTrainer:
    """Looks scores up, and writes down in a file what it was asked for."""

    log: Path
    scores: Scores
    healthy: tuple[tuple[tuple[Edit, ...], int], ...] = ()
    """(edits, seed) whose runs are healthy."""
    faults: tuple[tuple[Edit, ...], ...] = ()
    refused: tuple[tuple[Edit, ...], ...] = ()
    interrupted: tuple[tuple[tuple[Edit, ...], int], ...] = ()
    deadly: tuple[tuple[tuple[Edit, ...], int], ...] = ()
    """(edits, seed) that end the process."""
    missing: int | None = None
    """Seed whose data are nowhere, whatever the treatment."""
    unwatched: bool = False
    data: Any = ((1.0, 2.0), (0.0, 1.0))

    def train(self, edits: Sequence[Edit], *, seed: int, run: Path | None) -> Course:
        edits = tuple(edits)
        if (edits, seed) in self.interrupted:
            raise KeyboardInterrupt
        if (edits, seed) in self.deadly:
            os._exit(9)
        with self.log.open("a") as stream:
            stream.write(f"{[type(edit).__name__ for edit in edits]} {seed}\n")
        if edits in self.refused:
            raise CannotEdit("fc1: no such layer.\nGive another.")
        score = self.scores[edits][seed]
        assert run is not None
        kept = None if self.unwatched else write_run(run, sick=(edits, seed) not in self.healthy).resolve()
        fault = "RuntimeError: shapes" if edits in self.faults else ""
        fault = f"FileNotFoundError: {seed}.csv" if seed == self.missing else fault
        return Course(seed, np.array([1.0, 0.5]), nan if fault else score, kept, 0.1, fault)

    def treated(self, edits: Sequence[Edit]) -> Experiment:
        return Experiment(build, self.data, loss, functools.partial(tuple, list(edits)))

    @property
    def trained(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def diagnose(run: Run) -> Diagnosis:
    findings = (Finding(Severity.HARMS, "drawn"),) if run.provenance["sick"] else ()
    return Diagnosis(findings, ("vanishing_gradient",), (), run)


def plan(edits: tuple[Edit, ...]) -> Prescription:
    name = " + ".join(type(edit).__name__ for edit in edits)
    return Prescription(name, edits, Effect.RETUNES, None, ("G101",), f"{name} helps.", f"patch of {name}")


@dataclass
class Trial:
    """One call of ``treat`` after another in the same folder."""

    folder: Path
    trainer: FakeTrainer
    said: list[str]

    def treat(self, *plans: tuple[Edit, ...], seeds: Sequence[int] = (0, 1, 2), **options: Any) -> Outcome:
        return treat(
            self.trainer,
            seeds=seeds,
            folder=self.folder,
            diagnose=diagnose,
            prescribe=lambda diagnosis: [plan(edits) for edits in plans],
            **({"engine": Serial(), "say": self.said.append} | options),
        )


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Trial]:
    def make(scores: Scores, **options: Any) -> Trial:
        return Trial(tmp_path / "study", FakeTrainer(tmp_path / "log", scores, **options), [])

    return make


Made = Callable[..., Trial]


# What is concluded


def test_healthy_training_is_left_alone(made: Made) -> None:
    trial = made({UNTREATED: GOOD}, healthy=((UNTREATED, 0), (UNTREATED, 1)))
    outcome = trial.treat(GENTLE)
    assert outcome.verdict == "nothing to fix"
    assert len(trial.trainer.trained) == 3
    assert (outcome.prescription, outcome.contrast, outcome.after, outcome.patch) == (None, None, None, "")
    assert outcome.before.healthy
    assert outcome.experiment.optimizer.args == ([],)


def test_worst_seed_is_looked_at_before_a_training_is_called_healthy(made: Made) -> None:
    trial = made({UNTREATED: (0.9, 0.1, 0.8), WARM: GOOD}, healthy=((UNTREATED, 0), (UNTREATED, 2), (WARM, 0)))
    outcome = trial.treat(WARM)
    assert not outcome.before.healthy
    assert outcome.before.run.folder is not None
    assert outcome.before.run.folder.name == "untreated-seed-1"


def test_a_training_that_ends_with_a_fault_of_its_own_is_not_told_to_need_nothing(made: Made) -> None:
    healthy = tuple((UNTREATED, seed) for seed in range(3))
    outcome = made({UNTREATED: GOOD}, healthy=healthy, faults=(UNTREATED,)).treat(GENTLE)
    assert outcome.verdict == "no difference"
    assert outcome.words.startswith("Every training ends with RuntimeError: shapes.")
    assert headline(outcome) == "There was nothing to try"


def test_breakdown_counts_as_worst(made: Made) -> None:
    outcome = made({UNTREATED: (0.9, 0.1, nan)}, healthy=((UNTREATED, 0), (UNTREATED, 1))).treat()
    assert outcome.before.run.folder is not None
    assert outcome.before.run.folder.name == "untreated-seed-2"


def test_treatment_that_helps_is_prescribed(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: GOOD, WARM: (0.5, 0.5, 0.5), CLIP: (0.6, 0.6, 0.6)}
    trial = made(scores, healthy=((GENTLE, 0), (GENTLE, 1)))
    outcome = trial.treat(GENTLE, WARM, CLIP, REDRAW)
    assert outcome.verdict == "helped"
    assert outcome.prescription == plan(GENTLE)
    assert outcome.patch == plan(GENTLE).patch
    assert outcome.contrast is not None
    assert outcome.contrast.mean == pytest.approx(0.8)
    assert outcome.contrast.low > 0
    assert [arm.prescription for arm in outcome.trials] == [None, plan(GENTLE), plan(WARM), plan(CLIP)]
    assert all(len(arm.courses) == 1 and arm.stopped for arm in outcome.trials[2:])
    assert outcome.after is not None
    assert outcome.after.healthy
    assert outcome.experiment.optimizer.args == (list(GENTLE),)
    assert "1 more treatment was not tried." in outcome.notes
    assert len(trial.trainer.trained) == 8


def test_a_second_cure_that_is_ahead_is_trained_in_full_and_may_be_the_better_one(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: (0.5, 0.52, 0.51), WARM: GOOD}
    outcome = made(scores, healthy=((GENTLE, 0), (GENTLE, 1), (GENTLE, 2))).treat(GENTLE, WARM)
    assert outcome.prescription == plan(WARM)
    assert [len(arm.courses) for arm in outcome.trials] == [3, 3, 3]


def test_trying_goes_on_where_the_treated_run_is_not_healthy(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: (0.5, 0.52, 0.51), WARM: GOOD}
    outcome = made(scores, healthy=((WARM, 0), (WARM, 1), (WARM, 2))).treat(GENTLE, WARM)
    assert [arm.prescription for arm in outcome.trials[1:]] == [plan(GENTLE), plan(WARM)]
    assert outcome.prescription == plan(WARM)


def test_best_mean_counts_among_those_that_helped_and_what_is_left_is_noted(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: GOOD, WARM: (0.5, 0.52, 0.51), CLIP: (0.05, 1.0, 2.0)}
    outcome = made(scores).treat(GENTLE, WARM, CLIP)
    assert outcome.trials[3].contrast is not None
    assert outcome.trials[3].contrast.verdict == "no difference"  # though its mean is the best of all
    assert outcome.prescription == plan(GENTLE)
    assert outcome.after is not None
    assert not outcome.after.healthy
    assert any("not healthy" in note for note in outcome.notes)


def test_the_gentler_of_two_that_do_the_same_is_prescribed(made: Made) -> None:
    outcome = made({UNTREATED: STUCK, GENTLE: GOOD, REDRAW: GOOD}).treat(GENTLE, REDRAW)
    assert outcome.prescription == plan(GENTLE)


def test_no_difference_leaves_the_experiment_as_it_is(made: Made) -> None:
    outcome = made({UNTREATED: STUCK, GENTLE: (0.12, 0.09, 0.13)}).treat(GENTLE)
    assert outcome.verdict == "no difference"
    assert outcome.prescription == plan(GENTLE)
    assert (outcome.patch, outcome.experiment.optimizer.args) == ("", ([],))
    assert outcome.words.startswith("Nothing that was tried helped")


def test_harmed_only_where_all_did_worse(made: Made) -> None:
    good, worse = (0.5, 0.6, 0.55), (0.42, 0.52, 0.47)
    scores = {UNTREATED: good, GENTLE: worse, WARM: (0.0, 0.0, 0.0), CLIP: (0.56, 0.5, 0.6)}
    trial = made(scores)
    outcome = trial.treat(GENTLE, WARM)
    assert (outcome.verdict, outcome.prescription, outcome.patch) == ("harmed", None, "")
    assert outcome.contrast == outcome.trials[1].contrast
    assert trial.treat(GENTLE, WARM, CLIP).verdict == "no difference"


def test_later_comparisons_need_a_wider_interval(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: STUCK, WARM: (0.05, 0.05, 0.05), CLIP: STUCK, REDRAW: STUCK}
    outcome = made(scores).treat(GENTLE, CLIP, REDRAW)
    confidences = [arm.contrast.confidence for arm in outcome.trials if arm.contrast]
    assert confidences == pytest.approx([0.95, 0.975, 1 - 0.05 / 3])


SCATTERED = (0.1, 0.8, 0.2, 0.1, 0.7, 0.1, 0.8, 0.1, 0.8)
ABOVE = (0.9,) * 9


def test_a_cure_that_the_scatter_of_the_untreated_hides_is_proved_from_more_seeds(made: Made) -> None:
    trial = made({UNTREATED: SCATTERED, GENTLE: ABOVE, WARM: GOOD}, healthy=tuple((GENTLE, seed) for seed in range(9)))
    outcome = trial.treat(GENTLE, WARM)
    assert (outcome.verdict, outcome.contrast.ahead) == ("helped", tuple(range(7)))
    assert [len(arm.courses) for arm in outcome.trials[:2]] == [7, 7]
    assert len(trial.trainer.trained) == 7 + 7 + 1
    assert any("ahead from every seed, and their scatter may be luck; 4 seeds more." in one for one in trial.said)


def test_a_treatment_whose_own_scores_scatter_is_not_what_one_stops_at(made: Made) -> None:
    uneven = (0.3, 0.9, 0.2)
    trial = made({UNTREATED: STUCK, REDRAW: uneven, WARM: GOOD}, healthy=tuple((REDRAW, seed) for seed in range(3)))
    outcome = trial.treat(REDRAW, WARM)
    assert (outcome.prescription.edits, [len(arm.courses) for arm in outcome.trials]) == (WARM, [3, 3, 3])


def test_the_best_of_what_did_not_help_is_proved_from_more_seeds_at_the_end(made: Made) -> None:
    trial = made({UNTREATED: SCATTERED, WARM: (0.1, 0.9, 0.1), REDRAW: ABOVE, CLIP: (0.1, 0.8, 0.2)})
    outcome = trial.treat(WARM, REDRAW, CLIP)
    assert (outcome.verdict, outcome.prescription.edits) == ("helped", REDRAW)
    assert outcome.contrast.confidence == pytest.approx(1 - 0.05 / 4)
    assert [len(arm.courses) for arm in outcome.trials] == [8, 3, 8, 3]


def test_more_seeds_may_also_show_that_it_was_luck(made: Made) -> None:
    outcome = made({UNTREATED: SCATTERED, REDRAW: (0.9, 0.81, 0.22, 0.05, 0.5, 0.05, 0.2)}).treat(REDRAW)
    assert (outcome.verdict, len(outcome.trials[1].courses)) == ("no difference", 7)


def test_nobody_who_asks_for_two_seeds_gets_more(made: Made) -> None:
    outcome = made({UNTREATED: (0.1, 0.8), REDRAW: (0.9, 0.9)}).treat(REDRAW, seeds=(0, 1))
    assert [len(arm.courses) for arm in outcome.trials] == [2, 2]


def test_a_second_cure_is_held_against_all_that_the_first_one_scored(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: (0.92, 0.75, 0.74), WARM: (0.91, 0.95, 0.96)}
    outcome = made(scores, healthy=tuple((GENTLE, seed) for seed in range(3))).treat(GENTLE, WARM)
    assert (outcome.prescription.edits, len(outcome.trials[2].courses)) == (WARM, 3)


def test_breakdowns_that_end_are_a_help(made: Made) -> None:
    outcome = made({UNTREATED: (nan, nan, nan), GENTLE: GOOD}).treat(GENTLE)
    assert outcome.verdict == "helped"
    assert not any("breaks down" in note for note in outcome.notes)  # the words say so
    assert "breaks down from 3 of 3 seeds without it" in outcome.words


def test_a_training_that_only_survives_is_not_told_to_be_better(made: Made) -> None:
    outcome = made({UNTREATED: (nan, nan, nan), GENTLE: GOOD}).treat(GENTLE)
    assert headline(outcome) == "ScaleRate (× 0.1): training no longer breaks down, but is not healthy yet"
    assert "The treated run is not healthy yet: drawn." in outcome.notes
    assert "With the change the training loss falls from 1 to 0.5." in outcome.notes
    assert tone(outcome) == "SLOWS"


def test_help_that_leaves_a_trouble_is_told_as_such(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: GOOD}
    assert headline(made(scores).treat(GENTLE)) == "ScaleRate (× 0.1): it helped, but training is not healthy yet"


def test_help_that_leaves_nothing_is_told_plainly(made: Made) -> None:
    cured = made({UNTREATED: STUCK, GENTLE: GOOD}, healthy=tuple((GENTLE, seed) for seed in range(3))).treat(GENTLE)
    assert headline(cured) == "ScaleRate (× 0.1): it helped"
    assert tone(cured) == "HEALTHY"


def test_two_arms_of_one_remedy_are_told_apart_in_what_is_said(made: Made) -> None:
    stronger = (ScaleRate(0.01),)
    trial = made({UNTREATED: STUCK, GENTLE: STUCK, stronger: STUCK})
    outcome = trial.treat(GENTLE, stronger)
    for factor in ("0.1", "0.01"):
        assert sum(f"ScaleRate (× {factor}), seed" in words for words in trial.said) == 3
        assert any(words.startswith(f"ScaleRate (× {factor}): ") for words in trial.said)
    assert outcome.words.split("best was ")[1].startswith("ScaleRate (× 0.")
    names = [row[0] for row in arm_table(outcome).rows]
    assert len(set(names)) == len(names)
    trial.said.clear()
    trial.treat(GENTLE, stronger)
    assert any(words.startswith("ScaleRate (× 0.01): 1 of 1 trainings") for words in trial.said)


def test_breakdowns_both_ways_prescribe_nothing(made: Made) -> None:
    outcome = made({UNTREATED: (nan, nan, nan), GENTLE: (nan, nan, nan)}).treat(GENTLE)
    assert (outcome.verdict, outcome.prescription) == ("no difference", None)
    assert len(outcome.trials[1].courses) == 1


def test_one_seed_helps_only_out_of_a_breakdown(made: Made) -> None:
    trial = made({UNTREATED: STUCK, WARM: GOOD})
    outcome = trial.treat(WARM, seeds=[0])
    assert outcome.verdict == "no difference"
    assert any("One seed" in note for note in outcome.notes)


def test_nothing_prescribed_is_no_difference(made: Made) -> None:
    outcome = made({UNTREATED: STUCK}).treat()
    assert (outcome.verdict, outcome.prescription, outcome.contrast) == ("no difference", None, None)
    assert outcome.words == "Nothing is known that could be tried."


def test_plain_data_is_strict_json_of_all_arms(made: Made) -> None:
    outcome = made({UNTREATED: (0.1, nan, 0.2), GENTLE: GOOD, WARM: (nan, nan, nan)}).treat(WARM, GENTLE)
    facts = json.loads(json.dumps(plain(outcome.to_dict()), allow_nan=False))
    assert facts["schema"] == "isometry/outcome/1"
    assert [len(arm["courses"]) for arm in facts["trials"]] == [3, 1, 3]
    assert facts["contrast"]["verdict"] == facts["verdict"] == "helped"
    assert facts["trials"][0]["courses"][0]["run"] == "untreated-seed-0"


# What is trained


def test_arm_that_breaks_down_or_falls_far_behind_ends_with_its_first_seed(made: Made) -> None:
    trial = made({UNTREATED: GOOD, GENTLE: (nan, nan, nan), WARM: (0.2, 0.9, 0.9), CLIP: GOOD})
    outcome = trial.treat(GENTLE, WARM, CLIP)
    assert [len(arm.courses) for arm in outcome.trials] == [3, 1, 1, 3]
    assert [bool(arm.stopped) for arm in outcome.trials] == [False, True, True, False]
    assert "not finite" in outcome.trials[1].stopped
    assert "0.2" in outcome.trials[2].stopped


@pytest.mark.parametrize(("most", "trainings"), [(0, 3), (1, 6), (2, 9), (5, 12)])
def test_budget_holds(made: Made, most: int, trainings: int) -> None:
    trial = made({UNTREATED: STUCK, GENTLE: STUCK, WARM: STUCK, CLIP: STUCK})
    outcome = trial.treat(GENTLE, WARM, CLIP, most=most)
    assert len(trial.trainer.trained) == trainings
    assert len(outcome.trials) == trainings // 3


def test_trainings_that_were_saved_go_to_further_arms(made: Made) -> None:
    broken = (nan, nan, nan)
    trial = made({UNTREATED: GOOD, GENTLE: broken, WARM: broken, CLIP: broken, REDRAW: GOOD})
    trial.treat(GENTLE, WARM, CLIP, REDRAW, most=2)
    assert len(trial.trainer.trained) == 3 + 1 + 1 + 1 + 3


def test_edit_that_fits_nowhere_or_fails_is_neither_help_nor_harm(made: Made) -> None:
    scores = {UNTREATED: STUCK, GENTLE: GOOD, WARM: GOOD}
    trial = made(scores, refused=(GENTLE,), faults=(WARM,))
    outcome = trial.treat(GENTLE, WARM)
    assert (outcome.verdict, outcome.words) == (
        "no difference",
        "No treatment could be trained: CannotEdit: fc1: no such layer. Give another.",
    )
    assert [arm.stopped for arm in outcome.trials[1:]] == [
        "could not be trained: CannotEdit: fc1: no such layer. Give another.",
        "could not be trained: RuntimeError: shapes",
    ]
    assert all(arm.contrast is None for arm in outcome.trials)


def test_refusal_without_any_edit_is_raised(made: Made) -> None:
    with pytest.raises(CannotEdit):
        made({UNTREATED: STUCK}, refused=(UNTREATED,)).treat()


def test_no_readable_run_is_told(made: Made) -> None:
    with pytest.raises(NotRecorded, match="training step"):
        made({UNTREATED: STUCK}, unwatched=True).treat()


def test_run_that_cannot_be_read_makes_room_for_the_next(made: Made) -> None:
    trial = made({UNTREATED: STUCK})
    trial.treat()
    (trial.folder / "runs" / "untreated-seed-0" / "run.json").write_text("{torn")
    outcome = trial.treat()
    assert outcome.before.run.folder is not None
    assert outcome.before.run.folder.name != "untreated-seed-0"
    assert any("no JSON" in words for words in trial.said)


def test_seeds_are_needed_and_count_once(made: Made) -> None:
    trial = made({UNTREATED: STUCK})
    with pytest.raises(IsometryError, match="seeds"):
        trial.treat(seeds=[])
    trial.treat(seeds=[1, 0, 1])
    assert trial.trainer.trained == ["[] 1", "[] 0"]


# Interruptions


def same(one: Outcome, other: Outcome) -> bool:
    first, second = (plain(outcome.to_dict()) for outcome in (one, other))
    return bool(first == second)


def test_what_has_ended_is_not_trained_again(made: Made) -> None:
    trial = made({UNTREATED: STUCK, GENTLE: STUCK, REDRAW: GOOD})
    once = trial.treat(GENTLE, REDRAW)
    trained = trial.trainer.trained
    assert same(trial.treat(GENTLE, REDRAW), once)
    assert trial.trainer.trained == trained


def test_more_seeds_train_only_what_is_missing(made: Made) -> None:
    trial = made({UNTREATED: STUCK, GENTLE: GOOD})
    trial.treat(GENTLE, seeds=[0, 1])
    before = len(trial.trainer.trained)
    trial.treat(GENTLE, seeds=[0, 1, 2])
    assert trial.trainer.trained[before:] == ["[] 2", "['ScaleRate'] 2"]


def test_breakdowns_and_faults_are_kept_as_they_were(made: Made) -> None:
    trial = made({UNTREATED: (0.1, nan, 0.2), GENTLE: GOOD, WARM: GOOD}, faults=(GENTLE,))
    once = trial.treat(GENTLE, WARM)
    trained = trial.trainer.trained
    assert same(trial.treat(GENTLE, WARM), once)
    assert trial.trainer.trained == trained


@pytest.mark.parametrize("place", [(UNTREATED, 2), (REDRAW, 0), (REDRAW, 1)])
def test_interrupted_study_goes_on_where_it_was(made: Made, place: Any) -> None:
    trial = made({UNTREATED: STUCK, REDRAW: GOOD}, interrupted=(place,))
    with pytest.raises(KeyboardInterrupt):
        trial.treat(REDRAW)
    assert "the same call goes on" in trial.said[-1]
    trial.trainer = replace(trial.trainer, interrupted=())
    assert trial.treat(REDRAW).verdict == "helped"
    assert len(trial.trainer.trained) == len(set(trial.trainer.trained)) == 6


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"schema": "isometry/course/2"}',
        b"[" * 100_000,
    ],
)
def test_torn_course_is_trained_again_and_that_is_said(made: Made, damage: bytes) -> None:
    trial = made({UNTREATED: STUCK})
    once = trial.treat()
    torn = sorted((trial.folder / "courses").glob("*.json"))[1]
    torn.write_bytes(damage)
    again = trial.treat()
    assert trial.trainer.trained[3:] == ["[] 1"]
    assert any(torn.name in words for words in trial.said)
    assert [course.score for course in again.trials[0].courses] == [course.score for course in once.trials[0].courses]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 7),
        ("edits", [{"edit": "Clip"}]),
        ("score", None),
        ("score", "high"),
        ("losses", 3),
        ("losses", ["x"]),
        ("run", "../elsewhere"),
        ("run", 5),
        ("seconds", []),
    ],
)
def test_course_that_holds_something_else_is_trained_again(made: Made, key: str, value: Any) -> None:
    trial = made({UNTREATED: STUCK})
    trial.treat()
    path = sorted((trial.folder / "courses").glob("*.json"))[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    trial.treat()
    assert trial.trainer.trained[3:] == ["[] 0"]


def test_half_written_course_is_none(made: Made) -> None:
    trial = made({UNTREATED: STUCK})
    trial.treat()
    path = sorted((trial.folder / "courses").glob("*.json"))[0]
    path.rename(path.with_name(path.name + ".123.new"))
    trial.treat()
    assert trial.trainer.trained[3:] == ["[] 0"]


def test_run_of_an_interrupted_training_is_not_written_over(made: Made) -> None:
    trial = made({UNTREATED: STUCK})
    left = write_run(trial.folder / "runs" / "untreated-seed-0", sick=False)
    outcome = trial.treat()
    assert outcome.before.run.folder == left.with_name("untreated-seed-0-2")


def test_folder_may_be_moved(made: Made) -> None:
    trial = made({UNTREATED: STUCK, REDRAW: GOOD})
    once = trial.treat(REDRAW)
    trial.folder = trial.folder.rename(trial.folder.with_name("elsewhere"))
    assert same(trial.treat(REDRAW), once)
    assert len(trial.trainer.trained) == 6


def test_folder_may_be_named_from_where_one_is(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trial = made({UNTREATED: STUCK, REDRAW: GOOD})
    trial.folder = Path("study")
    once = trial.treat(REDRAW)
    assert same(trial.treat(REDRAW), once)
    assert len(trial.trainer.trained) == 6


def test_other_numbers_in_an_edit_are_another_training(made: Made) -> None:
    other = (ScaleRate(0.2),)
    trial = made({UNTREATED: STUCK, GENTLE: STUCK, other: GOOD})
    trial.treat(GENTLE)
    assert trial.treat(other).verdict == "helped"
    assert len(trial.trainer.trained) == 9


def test_other_data_are_another_experiment_and_that_is_said(made: Made) -> None:
    trial = made({UNTREATED: STUCK})
    trial.treat()
    trial.trainer = replace(trial.trainer, data=((1.0, 2.5), (0.0, 1.0)))
    trial.treat()
    assert len(trial.trainer.trained) == 6
    assert any("3 courses are of another experiment" in words for words in trial.said)
    trial.trainer = replace(trial.trainer, data=((1.0, 2.0), (0.0, 1.0)))
    trial.treat()
    assert len(trial.trainer.trained) == 6


# What is the same experiment


def experiment(**changes: Any) -> Experiment:
    data = (np.arange(6.0).reshape(3, 2), np.zeros(3))
    return replace(Experiment(build, data, loss, list, epochs=3), **changes)


def factory(depth: int, *, then: Callable[[], Any] = build) -> Callable[[], Any]:
    def made_to_measure() -> Any:
        return depth, then()

    return made_to_measure


class Net:
    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self) -> int:
        return self.width


def another_build() -> str:
    return "another"


def test_the_same_made_anew_is_the_same() -> None:
    assert likeness(experiment(build=factory(3))) == likeness(experiment(build=factory(3)))
    assert likeness(experiment(build=Net(3))) == likeness(experiment(build=Net(3)))


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 4},
        {"batch_size": 8},
        {"data": (np.arange(6.0).reshape(2, 3), np.zeros(3))},
        {"data": (np.arange(6.0).reshape(3, 2) + 1e-12, np.zeros(3))},
        {"data": [(np.arange(6.0), np.zeros(3))] * 2},
        {"build": another_build},
        {"build": lambda: "model "},
        {"build": factory(3)},
        {"build": Net(3)},
        {"build": functools.partial(build)},
        {"build": Net(3).__call__},
        {"metric": float},
    ],
)
def test_whatever_is_changed_makes_another(changes: dict[str, Any]) -> None:
    assert likeness(experiment(**changes)) != likeness(experiment())


def test_closures_defaults_and_attributes_count() -> None:
    texts = {
        likeness(experiment(build=made))
        for made in (
            factory(3),
            factory(4),
            factory(3, then=another_build),
            factory(3, then=Net(2)),
            factory(3, then=Net(3)),
            functools.partial(factory, 3),
            functools.partial(factory, 4),
            lambda depth=3: depth,
            lambda depth=4: depth,
        )
    }
    assert len(texts) == 9


def defined(source: str) -> Callable[[], Any]:
    """``build`` of a module with this source."""
    known: dict[str, Any] = {"__name__": "a_script"}
    exec(compile(textwrap.dedent(source), "a_script.py", "exec"), known)
    build: Callable[[], Any] = known["build"]
    return build


SCRIPT = """
    WIDTH = 3

    class Block:
        slope = 0.1
        def forward(self, x):
            return x * self.slope

    class Net(Block):
        def __init__(self):
            self.block = Block()

    def helper():
        return WIDTH

    def unused():
        return 1

    def build():
        return [Net() for _ in range(helper())]
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [("WIDTH = 3", "WIDTH = 4"), ("slope = 0.1", "slope = 0.2"), ("x * self", "x + self"), ("Block()", "Block")],
)
def test_code_that_a_function_reaches_counts(old: str, new: str) -> None:
    was, now = (experiment(build=defined(text)) for text in (SCRIPT, SCRIPT.replace(old, new)))
    assert likeness(was) != likeness(now)


@pytest.mark.parametrize(("old", "new"), [("return 1", "return 2"), ("def build", "# a remark\n\n    def build")])
def test_code_that_it_does_not_reach_does_not_count(old: str, new: str) -> None:
    was, now = (experiment(build=defined(text)) for text in (SCRIPT, SCRIPT.replace(old, new)))
    assert likeness(was) == likeness(now)


def test_experiments_that_contain_themselves_or_are_deep_end() -> None:
    itself: list[Any] = []
    itself.append(itself)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert likeness(experiment(data=itself)) != likeness(experiment(data=deep))


def test_another_process_finds_the_same() -> None:
    code = "from tests.treatment.test_study import *; print(likeness(experiment(build=factory(3, then=Net(2)))))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert done.stdout.strip() == likeness(experiment(build=factory(3, then=Net(2))))


# Engines


def refuse(words: str) -> None:
    raise AssertionError(words)


@pytest.mark.parametrize("engine", [Pool(2, say=refuse), Pool(3, say=refuse)])
def test_outcome_does_not_depend_on_the_engine(made: Made, engine: Engine, tmp_path: Path) -> None:
    scores = {UNTREATED: STUCK, GENTLE: (0.05, nan, 0.1), REDRAW: GOOD}
    trial = made(scores)
    alone = trial.treat(GENTLE, REDRAW)
    other = Trial(tmp_path / "other", replace(trial.trainer, log=tmp_path / "other-log"), [])
    assert same(other.treat(GENTLE, REDRAW, engine=engine), alone)
    assert sorted(other.trainer.trained) == sorted(trial.trainer.trained)


@pytest.mark.slow
def test_training_whose_process_dies_is_told_and_tried_again_by_the_same_call(made: Made) -> None:
    trial = made({UNTREATED: STUCK, REDRAW: GOOD, WARM: GOOD}, deadly=((UNTREATED, 1), (REDRAW, 0), (WARM, 2)))
    outcome = trial.treat(REDRAW, WARM, engine=Pool(2, say=refuse))
    died = "its process ended with exit code 9"
    assert [course.fault for course in outcome.trials[0].courses] == ["", died, ""]
    assert [arm.left_out for arm in outcome.trials[1:]] == [(0, 1), (1, 2)]
    assert [arm.contrast.seeds for arm in outcome.trials[1:]] == [(2,), (0,)]
    assert outcome.verdict != "helped", "one seed is no proof"
    assert any("Left out of the comparison: seeds 0, 1" in note and died in note for note in outcome.notes)
    assert f"untreated, seed 1: {died}; the same call would train it again." in trial.said
    before = trial.trainer.trained
    trial.trainer = replace(trial.trainer, deadly=())
    outcome = trial.treat(REDRAW, WARM)
    assert outcome.verdict == "helped"
    assert not any(course.fault for arm in outcome.trials for course in arm.courses)
    assert len(before) == len(set(before)) == 6
    assert sorted(trial.trainer.trained[6:]) == ["['Reinitialise', 'ScaleRate'] 0", "['WarmUp'] 2", "[] 1"]


def test_a_seed_that_the_same_fault_ends_with_and_without_a_treatment_says_nothing_of_it(made: Made) -> None:
    trial = made({UNTREATED: STUCK, GENTLE: GOOD, WARM: STUCK}, missing=2)
    outcome = trial.treat(GENTLE, WARM)
    assert outcome.verdict == "helped"
    assert outcome.contrast is not None
    assert outcome.contrast.seeds == (0, 1)
    assert outcome.trials[0].left_out == outcome.trials[1].left_out == (2,)
    assert isfinite(outcome.trials[0].score)
    assert "Left out of the comparison: seed 2 (FileNotFoundError: 2.csv)." in outcome.notes
    first = made({UNTREATED: STUCK, GENTLE: GOOD, WARM: GOOD}, missing=0)
    first.folder = first.folder.with_name("other")
    assert first.treat(GENTLE, WARM).contrast.seeds == (1, 2), "the others are trained although the first failed"


def test_a_fault_that_only_a_treatment_has_is_its_own(made: Made) -> None:
    trial = made({UNTREATED: STUCK, GENTLE: GOOD}, faults=(GENTLE,))
    outcome = trial.treat(GENTLE)
    assert outcome.trials[1].stopped == "could not be trained: RuntimeError: shapes"
    assert outcome.trials[1].left_out == ()


def test_deaths_of_all_untreated_trainings_end_the_study_with_the_reason(made: Made) -> None:
    trial = made({UNTREATED: STUCK}, deadly=tuple((UNTREATED, seed) for seed in range(3)))
    with pytest.raises(NotRecorded, match="its process ended with exit code 9"):
        trial.treat(GENTLE, engine=Pool(2, say=refuse))
    assert trial.trainer.trained == []


INTERRUPTED = """
import sys, time
from pathlib import Path
from tests.treatment.test_study import *

class Slow(FakeTrainer):
    def train(self, edits, *, seed, run):
        if seed > 0 and not Path("go-on").exists():
            print("waiting", seed, flush=True)
            time.sleep(1000)
        return super().train(edits, seed=seed, run=run)

if __name__ == "__main__":
    trainer = Slow(Path("log"), {UNTREATED: STUCK, REDRAW: GOOD})
    outcome = treat(
        trainer, seeds=[0, 1, 2], folder=Path("study"), diagnose=diagnose, prescribe=lambda _: [plan(REDRAW)],
        engine=Pool(2, say=refuse), say=lambda words: print(words, flush=True),
    )
    print(outcome.verdict)
"""


def wait_for_the_end_of(group: int) -> None:
    """Of its last process, a tracker that ``multiprocessing`` starts and that ends behind the rest."""
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_pool_that_is_interrupted_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """As Ctrl-C does it: all processes of the terminal get the signal."""
    (tmp_path / "script.py").write_text(INTERRUPTED)
    call = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(Path.cwd())}, "text": True}
    process = subprocess.Popen(
        [sys.executable, "script.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **call
    )
    assert process.stdout is not None
    heard = [process.stdout.readline() for _ in range(3)]  # seed 0 has ended, 1 and 2 wait
    os.killpg(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert sum(line.startswith("waiting") for line in heard) == 2, (heard, errors)
    assert "Interrupted" in rest
    assert errors.count("Traceback") == 1, errors  # that of the process that was asked to end, of no other
    wait_for_the_end_of(process.pid)
    (tmp_path / "go-on").touch()
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, timeout=120, check=True, **call)
    assert "untreated: 1 of 3 trainings were made before." in done.stdout
    assert done.stdout.endswith("helped\n")
    assert len((tmp_path / "log").read_text().splitlines()) == 6


SETTINGS = {"rate": 0.1}


def rated(parameters: Sequence[float]) -> tuple[Sequence[float], float]:
    """An optimiser that reads its rate where the module keeps it."""
    return parameters, SETTINGS["rate"]


def test_settings_kept_in_a_dictionary_of_the_module_tell_experiments_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(experiment(), optimizer=rated)
    first = likeness(one)
    monkeypatch.setitem(SETTINGS, "rate", 0.2)
    assert likeness(one) != first


def test_between_two_numbers_that_both_help_a_little_another_one_is_tried(made: Made) -> None:
    high, low, middle = ((ScaleRate(factor),) for factor in (0.1, 0.001, 0.01))
    uneven = (0.9, 0.15, 0.2)
    trial = made({UNTREATED: STUCK, high: uneven, low: uneven, middle: GOOD, WARM: STUCK})
    outcome = trial.treat(high, low, WARM)
    assert [arm.prescription.edits for arm in outcome.trials[1:4] if arm.prescription] == [high, low, middle]
    assert outcome.verdict == "helped"
    assert outcome.prescription is not None
    assert outcome.prescription.edits == middle


def test_a_rate_that_helps_a_little_is_changed_further_as_long_as_that_is_better(made: Made) -> None:
    lower = {
        (ScaleRate(0.3),): (0.3, 0.1, 0.1),
        (ScaleRate(0.1),): (0.6, 0.5, 0.1),
        (ScaleRate(0.03),): (0.5, 0.4, 0.1),
    }
    outcome = made({UNTREATED: STUCK, WARM: STUCK, **lower}).treat((ScaleRate(0.3),), WARM)
    tried = [arm.prescription.edits for arm in outcome.trials[1:] if arm.prescription]
    assert tried[:4] == [(ScaleRate(0.3),), WARM, (ScaleRate(0.1),), (ScaleRate(0.03),)]


def test_a_rate_that_is_raised_is_raised_further(made: Made) -> None:
    higher = {UNTREATED: STUCK, (ScaleRate(3.0),): (0.12, 0.4, 0.04), (ScaleRate(10.0),): GOOD}
    assert made(higher).treat((ScaleRate(3.0),)).prescription.edits == (ScaleRate(10.0),)


def test_a_rate_that_is_behind_is_not_changed_further(made: Made) -> None:
    assert len(made({UNTREATED: STUCK, (ScaleRate(0.2),): (0.09, 0.1, 0.11)}).treat((ScaleRate(0.2),)).trials) == 2


def test_what_takes_one_trouble_away_is_tried_together_with_what_helps_against_the_other(made: Made) -> None:
    both = (*CLIP, *WARM)
    trial = made({UNTREATED: STUCK, CLIP: STUCK, both: GOOD, GENTLE: STUCK})
    first, second = plan(CLIP), replace(plan(WARM), answers=("R101",))

    def diagnosed(run: Run) -> Diagnosis:
        assert run.folder is not None
        codes = ("R101",) if run.folder.name.startswith("clip-") else ("G101", "R101")
        codes = () if "warmup" in run.folder.name else codes
        return Diagnosis(tuple(Finding(Severity.HARMS, "drawn", code=code) for code in codes), (), (), run)

    def prescribed(diagnosis: Diagnosis) -> list[Prescription]:
        return [first, plan(GENTLE)] if len(diagnosis.findings) > 1 else [second]

    outcome = treat(
        trial.trainer,
        seeds=range(3),
        folder=trial.folder,
        diagnose=diagnosed,
        prescribe=prescribed,
        engine=Serial(),
    )
    assert outcome.verdict == "helped"
    assert outcome.prescription is not None
    assert outcome.prescription.edits == both
    assert outcome.prescription.remedy == "Clip + WarmUp"
    assert outcome.prescription.answers == ("G101", "R101")
    assert outcome.after is not None
    assert outcome.after.healthy
