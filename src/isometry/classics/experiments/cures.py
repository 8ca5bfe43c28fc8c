"""For every remedy a small training that is sick in the way it is meant for: diagnosed, treated, and compared."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isometry.api import prescribe
from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.history.store import open_run
from isometry.network.edits import Clip, Edit
from isometry.network.signals import Signal
from isometry.network.trial import Course
from isometry.report.chart import Axis, Chart, Line, Points, Shape, Table
from isometry.report.columns import chains, norms
from isometry.report.words import decades, number, problem
from isometry.treatment.contrast import Contrast, contrast
from isometry.treatment.engines import Died, Pool
from isometry.treatment.prescription import Prescription

if TYPE_CHECKING:
    from isometry.classics.build.diseases import Task

Numbers = NDArray[np.float64]

SEEDS = 3
"""Of each arm at most: what ``isometry fix`` trains unless it is told otherwise."""
UNTREATED, TREATED, BROKEN = 2, 0, 1
"""Styles of the pictures."""


@dataclass(frozen=True, slots=True)
class Case:
    """A remedy, and a disease that it is meant for."""

    remedy: str
    disease: str
    """A name of ``build.diseases.DISEASES``."""
    by: str = ""
    """What a gradient is clipped by, where a remedy has several ways; empty for its first."""
    expected: Verdict = Verdict.STANDS
    profiled: bool = False
    """Whether its profiles of δ are drawn."""

    @property
    def name(self) -> str:
        return f"{self.by} {self.remedy}" if self.by else self.remedy

    def chosen(self, plans: Sequence[Prescription]) -> Prescription | None:
        """The first that this remedy proposes by itself; None where it proposes nothing."""
        return next((plan for plan in plans if plan.remedy == self.remedy and self._fits(plan.edits)), None)

    def _fits(self, edits: Sequence[Edit]) -> bool:
        return not self.by or any(isinstance(edit, Clip) and edit.by == self.by for edit in edits)


OFF = "every 250th target 300 deviations off"
SIGMOID = "6 layers of sigmoid"
OF_NETWORKS = (
    Case("replace-activation", SIGMOID, profiled=True),
    Case("insert-norm", SIGMOID),
    Case("critical-initialisation", "8 layers of tanh, weights of N(0, 0.02²)"),
    Case("add-skip", "16 layers of ReLU", profiled=True),
    Case("lighter-branches", "12 residual blocks without a norm", profiled=True),
    Case("orthogonal-recurrence", "plain recurrent layer, 15 words"),
    Case("forget-bias", "LSTM, 30 words"),
    Case("free-output", "ReLU in front of targets of −0.5 ± 1"),
)
OF_TRAININGS = (
    Case("lower-rate", "Adam at a rate of 0.3"),
    Case("raise-rate", "SGD at a rate of 0.0001"),
    Case("warm-up", "Adam at a rate of 0.3, layer norms"),
    Case("decay-rate", "Adam at a rate of 0.5, one layer of tanh"),
    Case("change-optimizer", "a loss times 0.0001"),
    Case("lower-epsilon", "a loss times 1e-9"),
    Case("clip", OFF),
    Case("clip", OFF, by="adaptive"),
    Case("scale-outputs", "targets of 5,000 ± 900"),
    Case("scale-loss", "float16, a loss times 1e-6"),
    Case("change-precision", "float16 behind pixels of a million"),
    Case("standardise-inputs", "pixels from 0 to 4,080"),
    Case("unfreeze", "two layers frozen by mistake"),
)
CASES = OF_NETWORKS + OF_TRAININGS
"""Each remedy of this package has one."""
FAST = 3
"""Cases that are enough for tests."""
CHOSEN = (
    "The diseases were chosen to be such that the remedy is a right answer, so this shows that each remedy can cure, "
    "not how often it does: `docs/repair.md` has networks of which that is asked. Often another remedy would do as "
    "well, or better."
)
FEW = (
    "Three seeds give wide intervals, 4.3 standard errors to both sides; both arms begin from the same weights, before "
    "the change, and see the data in the same order."
)


@dataclass(frozen=True, slots=True)
class Cured:
    """What came of one case."""

    case: Case
    found: tuple[Finding, ...]
    """What the plan answers; where there is none, all that was found."""
    plan: Prescription | None
    before: tuple[Course, ...]
    after: tuple[Course, ...] = ()

    @property
    def contrast(self) -> Contrast | None:
        return contrast(self.after, self.before) if self.after else None

    @property
    def codes(self) -> str:
        """What named the disease: ``G101 vanishing gradient``."""
        return ", ".join(f"{finding.code} {problem(finding.problem)}" for finding in self.found) or "nothing"


@classic(
    "cures-network",
    title="Does every remedy for a network cure a disease that it is meant for?",
    covers=("B1", "B2", "B3", "B6", "B7", "B9"),
    source="the sources of each remedy, in docs/remedies",
    place=95,
)
def cures_network(study: Study) -> Exhibit:
    """Each remedy that changes a network or its weights has a small training that is sick in one way. It is trained for
    a few hundred steps and watched; the run is diagnosed; and of what is prescribed the first plan that is this
    remedy's alone is carried out. Nothing of a plan is chosen by hand.

    Both arms are trained from the same three seeds, on the same data in the same order, for as many steps. Data are
    scikit-learn's handwritten digits; one word of eight that comes first in a sequence and is asked for at its end;
    and a smooth function of three columns. The score is the share of right answers on data not trained on, or of the
    targets' variance that is explained, and 0 where their mean would answer better. A claim stands where the remedy
    helped: the interval of the mean paired difference, 95 % by Student's law, lies above zero; or training breaks down
    from every seed without the remedy and from none with it.
    """
    found = _results(study.size(OF_NETWORKS, tuple(case for case in OF_NETWORKS if case.profiled)), study)
    return _exhibit(found, (_scores_chart(found), *_profile_charts(found)))


@classic(
    "cures-training",
    title="Does every remedy for a training cure a disease that it is meant for?",
    covers=("B8", "B10"),
    source="the sources of each remedy, in docs/remedies",
    place=96,
)
def cures_training(study: Study) -> Exhibit:
    """The same as cures-network for remedies that change the optimiser, its rate, the gradients, or the scale of data.

    Clipping has two rows, as it proposes two ways: at a norm of the whole gradient, and unit by unit at a share of the
    norm of the unit's weights.
    """
    found = _results(study.size(OF_TRAININGS, OF_TRAININGS[:FAST]), study)
    return _exhibit(found, (_scores_chart(found),))


def _exhibit(found: Sequence[Cured], charts: tuple[Chart, ...]) -> Exhibit:
    return Exhibit(
        claims=tuple(_claim(one) for one in found),
        charts=charts,
        numbers={one.case.name: _numbers(one) for one in found},
        diagnoses=_diagnoses(found),
        remarks=(CHOSEN, FEW),
    )


# Trainings ------------------------------------------------------------------------------------------------------------


def _results(cases: Sequence[Case], study: Study) -> list[Cured]:
    """All cases, untreated first; a disease that several remedies are for is trained untreated once."""
    from isometry.classics.build.diseases import Task

    seeds = study.seeds[:SEEDS]
    with closing(Pool(say=study.say)) as pool:
        diseases = tuple(dict.fromkeys(case.disease for case in cases))
        untreated = [
            Task(disease, (), seed, study.runs / f"disease-{place}" if seed == seeds[0] else None)
            for place, disease in enumerate(diseases)
            for seed in seeds
        ]
        study.say(f"{len(diseases)} diseases untreated, {len(seeds)} seeds each")
        before = dict(zip(untreated, _courses(pool, untreated), strict=True))
        arms = {disease: tuple(c for t, c in before.items() if t.disease == disease) for disease in diseases}
        sick = [_examined(case, arms[case.disease]) for case in cases]
        treated = [
            Task(one.case.disease, one.plan.edits, seed, _kept(one.case, study) if seed == seeds[0] else None)
            for one in sick
            if one.plan is not None
            for seed in seeds
        ]
        study.say(f"{len(treated) // len(seeds)} of {len(sick)} remedies, {len(seeds)} seeds each")
        after = dict(zip(treated, _courses(pool, treated), strict=True))
    return [_with_treated(one, after) for one in sick]


def _courses(pool: Pool, tasks: Sequence["Task"]) -> list[Course]:
    from isometry.classics.build.diseases import trained

    courses: dict[int, Course] = {}
    for place, course in pool.map(trained, tasks):
        if isinstance(course, Died):
            raise IsometryError(
                f"{tasks[place].disease}, seed {tasks[place].seed}: {course.reason}. "
                "Run the classic again, with less else going on beside it."
            )
        courses[place] = course
    return [courses[place] for place in range(len(tasks))]


def _kept(case: Case, study: Study) -> Path | None:
    """Where the treated run is kept, if its profile is drawn."""
    return study.runs / case.remedy if case.profiled else None


def _examined(case: Case, before: tuple[Course, ...]) -> Cured:
    """What is found in the disease, and the plan of this remedy."""
    diagnosis = _diagnosis(before)
    plan = case.chosen(prescribe(diagnosis))
    found = tuple(one for one in diagnosis.findings if plan is None or one.code in plan.answers)
    return Cured(case, found, plan, before)


def _with_treated(one: Cured, after: Mapping["Task", Course]) -> Cured:
    if one.plan is None:
        return one
    mine = (c for task, c in after.items() if (task.disease, task.edits) == (one.case.disease, one.plan.edits))
    return Cured(one.case, one.found, one.plan, one.before, tuple(mine))


def _run(courses: Sequence[Course]) -> Run:
    folder = courses[0].run
    assert folder is not None, "the first seed is watched"
    return open_run(folder)


def _diagnosis(courses: Sequence[Course]) -> Diagnosis:
    return diagnose(_run(courses))


def _diagnoses(found: Sequence[Cured]) -> dict[str, Diagnosis]:
    """The diseases, and the runs of which profiles are drawn."""
    told = {f"{one.case.disease}, untreated": _diagnosis(one.before) for one in found}
    return told | {
        f"{one.case.disease}, {one.case.name}": _diagnosis(one.after)
        for one in found
        if one.case.profiled and one.after
    }


# Claims ---------------------------------------------------------------------------------------------------------------


def _claim(one: Cured) -> Claim:
    case = one.case
    words = f"{case.disease[0].upper()}{case.disease[1:]}: {case.name} helps."
    told = one.contrast
    if one.plan is None or told is None:
        return Claim(words, f"Found: {one.codes}. The remedy proposes nothing.", Verdict.FALLS, case.expected)
    return Claim(
        words=words,
        measured=f"Found: {one.codes}. {one.plan.words} Score {_mean(one.before)} → {_mean(one.after)}: {told.words}.",
        verdict=Verdict.STANDS if told.verdict == "helped" else Verdict.FALLS,
        expected=case.expected,
    )


def _scores(courses: Sequence[Course]) -> Numbers:
    return np.array([course.score for course in courses], dtype=np.float64)


def _mean(courses: Sequence[Course]) -> str:
    """Mean score of the trainings that have one, and how many broke down."""
    scores = _scores(courses)
    broken = int(np.isnan(scores).sum())
    if broken == len(scores):
        return "none (all break down)"
    mean = f"{np.nanmean(scores):.2f}"
    return f"{mean} ({broken} of {len(scores)} break down)" if broken else mean


def _numbers(one: Cured) -> dict[str, object]:
    return {
        "disease": one.case.disease,
        "findings": [finding.code for finding in one.found],
        "plan": one.plan.to_dict() if one.plan is not None else None,
        "untreated": _scores(one.before).tolist(),
        "treated": _scores(one.after).tolist(),
        "contrast": one.contrast.to_dict() if one.contrast is not None else None,
        "steps": [course.steps for course in (*one.before, *one.after)],
        "seconds": [round(course.seconds, 2) for course in (*one.before, *one.after)],
    }


# Pictures -------------------------------------------------------------------------------------------------------------


def _scores_chart(found: Sequence[Cured]) -> Chart:
    helped = sum(one.contrast is not None and one.contrast.verdict == "helped" for one in found)
    return Chart(
        title=f"{helped} of {len(found)} remedies help the disease that they are meant for",
        reading="A small point is a seed, a line joins the means of the untreated and the treated trainings. What "
        "broke down stands at 0.",
        x=Axis("score on data not trained on", low=-0.02, high=1.02),
        y=Axis("", scale="layers", names=tuple(one.case.name for one in found)),
        shapes=tuple(_dumbbells(found)),
        alt="A row for each remedy with untreated and treated scores. "
        + "; ".join(f"{one.case.name} {_mean(one.before)} → {_mean(one.after)}" for one in found if one.after)
        + ".",
        table=Table(
            ("remedy", "disease", "found", "untreated", "treated", "difference", "95 % interval"),
            tuple(_row(one) for one in found),
        ),
    )


def _dumbbells(found: Sequence[Cured]) -> Iterator[Shape]:
    broken_at: list[float] = []
    ends: dict[int, list[tuple[float, float]]] = {UNTREATED: [], TREATED: []}
    seeds: list[tuple[float, float]] = []
    for row, one in enumerate(found):
        middles = []
        for style, courses in ((UNTREATED, one.before), (TREATED, one.after)):
            scores = _scores(courses)
            known = scores[np.isfinite(scores)]
            broken_at += [row] * (len(known) < len(scores))
            seeds += [(float(score), float(row)) for score in known]
            middles.append(float(np.nan_to_num(scores).mean()) if len(scores) else math.nan)
            ends[style].append((middles[-1], float(row)))
        yield Line("", np.array(middles), np.full(2, float(row)), role="context", style=UNTREATED)
    yield _points("one seed each", seeds)
    yield _points("untreated, mean", ends[UNTREATED], UNTREATED)
    yield _points("treated, mean", ends[TREATED], TREATED)
    if broken_at:
        yield _points("broke down", [(0.0, row) for row in broken_at], BROKEN)


def _points(words: str, places: Sequence[tuple[float, float]], style: int | None = None) -> Points:
    x, y = np.array(places, dtype=np.float64).T
    return Points(words, x, y, style=style)


def _row(one: Cured) -> tuple[str, ...]:
    told = one.contrast
    if told is None:
        return one.case.name, one.case.disease, one.codes, _mean(one.before), "–", "–", "not proposed"
    interval = f"{number(told.low)} … {number(told.high)}" if math.isfinite(told.low) else "breakdowns alone"
    difference = number(told.mean) if math.isfinite(told.mean) else "–"
    return one.case.name, one.case.disease, one.codes, _mean(one.before), _mean(one.after), difference, interval


def _profile_charts(found: Sequence[Cured]) -> list[Chart]:
    """δ of the untreated and the treated network at the first recorded step, one place behind the other."""
    shown = [one for one in found if one.case.profiled and one.after]
    if not shown:
        return []
    shapes: list[Shape] = []
    rows, said = [], []
    for style, one in enumerate(shown):
        before, after = (_profile(_run(courses)) for courses in (one.before, one.after))
        depth = np.linspace(0.0, 1.0, len(after))
        shapes += [
            Line("", np.linspace(0.0, 1.0, len(before)), before, style=style, role="context"),
            Line("", depth, after, style=style),
            Points(one.case.name, depth, after, style=style),
        ]
        lost = [decades(math.log10(profile[0] / profile[-1])) for profile in (before, after)]
        said.append(f"{one.case.name} {lost[0]} → {lost[1]}")
        rows.append((one.case.disease, one.case.name, *lost))
    return [
        Chart(
            title=f"Decades of δ from the output to the input: {', '.join(said)}",
            reading="Size of δ at the first step against that at the output, along the longest chain of layers. Pale "
            "lines: the same networks untreated.",
            x=Axis("depth, 0 at the input and 1 at the output"),
            y=Axis("δ against that at the output", scale="log"),
            shapes=tuple(shapes),
            alt=f"Pairs of lines over depth on a log scale, one untreated and one treated: {', '.join(said)} decades.",
            table=Table(("disease", "remedy", "decades, untreated", "decades, treated"), tuple(rows)),
        )
    ]


def _profile(run: Run) -> Numbers:
    """‖δ‖ at the first recorded step over that at the last place."""
    delta, _ = norms(run, Signal.DELTA)
    along = np.asarray(delta[0, chains(run.architecture)[0]], dtype=np.float64)
    known = along[np.isfinite(along) & (along > 0)]
    return np.asarray(known / known[-1])
