"""Tries treatments on one experiment, most promising first, and says whether any of them helped.

Every course that has ended is kept in the study's folder before anything else happens. So an interrupted study goes on
where it was, as long as the experiment is the same; ``likeness`` is what tells one experiment from another.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from math import isfinite, nan
from pathlib import Path

import numpy as np

from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError, NotRecorded
from isometry.history.run import Run
from isometry.history.store import open_run
from isometry.network.script import Script
from isometry.network.trial import Course, Trainer
from isometry.treatment.arms import behind_a_rival, best_of, compared, helped, promising, saying_nothing, steadier, told
from isometry.treatment.between import farther_than, finer_than
from isometry.treatment.combination import further_than
from isometry.treatment.conclusion import concluded
from isometry.treatment.contrast import CONFIDENCE, contrast, far_behind, number, seeds_to_tell
from isometry.treatment.courses import UNTREATED, Kept, Task, Training
from isometry.treatment.engines import Died, Engine
from isometry.treatment.likeness import likeness
from isometry.treatment.naming import named
from isometry.treatment.outcome import Arm, Outcome
from isometry.treatment.prescription import Prescription

__all__ = ["treat"]

SECOND_LOOKS = 2
"""Treatments that are still tried from one seed after one has cured: the first cure is seldom the best one."""
ENOUGH_SEEDS = 3
"""Whoever asks for fewer does not ask for a proof."""


def treat(
    trainer: Trainer,
    *,
    seeds: Sequence[int],
    folder: Path,
    diagnose: Callable[[Run], Diagnosis],
    prescribe: Callable[[Diagnosis], Sequence[Prescription]],
    engine: Engine,
    most: int = 5,
    say: Callable[[str], None] = lambda words: None,
) -> Outcome:
    """Train without a change, find out what is wrong, and try what is prescribed against it.

    Each treatment is trained from the first seed, and from the others unless that one broke down or came out far
    behind. Once one has helped and its run is healthy, two more are tried from the first seed, and from the others
    where they are ahead. Trying ends as well when nothing is left to try, or nothing to train with: at most
    ``(1 + most) · seeds`` trainings are made. Of those that helped, the one with the best mean score is prescribed.

    Scores of a sick network may scatter so widely that three differences of one sign tell nothing. Where such a
    treatment leaves a healthy run and scores that scatter less, or is the best of all and none helped, it and the
    untreated training are made from as many more seeds as tell a difference by its sign: four beyond the first three.
    Only this look at the best one of a study in which nothing helped goes beyond the number of trainings above.

    Several treatments are several chances to be lucky. So the k-th comparison needs an interval of confidence
    1 − 0.05 / k: of studies in which none of five treatments makes a difference, differences follow a normal law and
    two are looked at twice, at most one in 15 then tells that one helps.

    Args:
        trainer: trains the experiment.
        seeds: of each arm, so many trainings.
        folder: where courses and runs are kept. The same call goes on from what it finds there.
        diagnose: a run → what is wrong with it.
        prescribe: a diagnosis → what might help, most promising first.
        engine: where trainings run.
        most: treated arms that may be trained in full.
        say: gets a sentence whenever something has ended.

    Raises:
        IsometryError: no seed.
        NotRecorded: no training without a change left a run that can be read.
        KeyboardInterrupt: as it came; what had ended by then is kept.
    """
    seeds = tuple(dict.fromkeys(int(seed) for seed in seeds))
    if not seeds:
        raise IsometryError("seeds: none was given; at least one is needed, and three to tell a scatter.")
    study = _Study(trainer, seeds=seeds, folder=folder, diagnose=diagnose, engine=engine, say=say)
    try:
        return study.outcome(prescribe, most=most)
    except KeyboardInterrupt:
        say(f"Interrupted. What had ended is kept in {folder}; the same call goes on from there.")
        raise
    finally:
        engine.close()


def _confidence(place: int) -> float:
    """That the interval of a study's first, second, … comparison needs."""
    return 1 - (1 - CONFIDENCE.value) / place


def _compared(plan: Prescription, courses: tuple[Course, ...], untreated: Arm, *, place: int, stopped: str = "") -> Arm:
    """The arm of these courses, held against the untreated one."""
    left_out = saying_nothing(courses, untreated.courses)
    telling = [course for course in courses if course.seed not in left_out]
    if not telling:
        return Arm(plan, courses, f"could not be trained: {courses[0].fault}", left_out=left_out)
    made = contrast(telling, untreated.courses, confidence=_confidence(place))
    return Arm(plan, courses, stopped, made, left_out)


class _Study:
    """What all arms have in common."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        seeds: tuple[int, ...],
        folder: Path,
        diagnose: Callable[[Run], Diagnosis],
        engine: Engine,
        say: Callable[[str], None],
    ) -> None:
        self.trainer = trainer
        self.seeds = seeds
        self.diagnose = diagnose
        self.engine = engine
        self.say = say
        self.untouched = trainer.treated(())
        self.kept = Kept(Path(folder).resolve(), likeness(self.untouched))  # user's code may change directory
        others = self.kept.of_others()
        if others:
            say(f"{folder}: {others} courses are of another experiment, by code or data, and are left aside.")

    def outcome(self, prescribe: Callable[[Diagnosis], Sequence[Prescription]], *, most: int) -> Outcome:
        untreated = Arm(None, self.untreated())
        before = self.diagnosis(untreated)
        if before is None:
            raise NotRecorded(
                f"No training without a change left a run that can be read ({'; '.join(untreated.faults) or 'no fault'}"
                f"). At least one training step has to end before anything can be said."
            )
        if before.healthy:
            return concluded(self.trainer.treated, untreated, before)
        prescribed = tuple(prescribe(before))
        plans = list(prescribed)
        tried: list[Arm] = []
        found: dict[int, Diagnosis | None] = {}
        cured, looks, place = False, 0, 1
        while plans:
            spent = sum(len(one.courses) for one in (untreated, *tried))
            if looks == SECOND_LOOKS or spent > most * len(self.seeds):
                break
            looks += cured
            plan = plans.pop(0)
            arm = self.tried(plan, untreated, place=place, rival=best_of(tried) if cured else None)
            self.say(f"{named(plan)}: {told(arm)}.")
            after = self.diagnosis(arm) if compared(arm) else None
            place += not arm.stopped
            if promising(arm) and steadier(arm, untreated) and after is not None and after.healthy:
                left = (1 + most) * len(self.seeds) - spent - len(arm.courses)
                if 0 < self.price(arm, place=place) <= left:
                    arm, untreated = self.told_apart(arm, untreated, place=place)
                    after, place = self.diagnosis(arm), place + 1
            found[len(tried)] = after
            tried.append(arm)
            cured = cured or (helped(arm) and after is not None and after.healthy)
            finer = finer_than(tried, prescribed, before)
            further = further_than(plan, before, after, prescribe) if not cured and plan in prescribed else None
            known = {plan.edits for plan in (*plans, *(arm.prescription for arm in tried)) if plan is not None}
            plans = [new for new in (further, finer) if new is not None and new.edits not in known] + plans
            farther = farther_than(tried, plans, before) if not cured else None
            plans += [farther] if farther is not None and farther.edits not in known else []
        best = best_of(tried)
        if best is not None and promising(best) and self.price(best, place=place):
            number_of_best = next(number for number, arm in enumerate(tried) if arm is best)
            tried[number_of_best], untreated = self.told_apart(best, untreated, place=place)
            found[number_of_best] = self.diagnosis(tried[number_of_best])
        return concluded(self.trainer.treated, untreated, before, tried, found, left=len(plans))

    def untreated(self) -> tuple[Course, ...]:
        """The courses without a change. A script may be no training, or have no end, so its first one is waited for."""
        if not isinstance(self.untouched, Script):
            return self.trained(None, self.seeds)
        first = self.trained(None, self.seeds[:1])
        self.trainer = self.trainer.paced_by(first[0])
        return first + self.trained(None, self.seeds[1:])

    # Trainings --------------------------------------------------------------------------------------------------------

    def tried(self, plan: Prescription, untreated: Arm, *, place: int, rival: Arm | None = None) -> Arm:
        """One treated arm; ``place``: how many will have been compared in full once it is; ``rival``: one to beat."""
        courses = self.trained(plan, self.seeds[:1])
        says_nothing = bool(saying_nothing(courses, untreated.courses))
        if courses[0].fault and not says_nothing:
            return Arm(plan, courses, stopped=f"could not be trained: {courses[0].fault}")
        reason = ""
        if not says_nothing:
            reason = far_behind(courses[0], untreated.courses) or behind_a_rival(courses[0], rival)
        if not reason:
            courses += self.trained(plan, self.seeds[1:])
        stopped = f"stopped after the first seed: {reason}" if reason else ""
        return _compared(plan, courses, untreated, place=place, stopped=stopped)

    def price(self, arm: Arm, *, place: int) -> int:
        """Trainings that arm and untreated one still need to be told apart by signs; 0 where nobody asked for a proof.

        ``place``: how many comparisons that makes.
        """
        if len(self.seeds) < ENOUGH_SEEDS:
            return 0
        return 2 * max(0, seeds_to_tell(_confidence(place)) - len(arm.courses))

    def told_apart(self, arm: Arm, untreated: Arm, *, place: int) -> tuple[Arm, Arm]:
        """Both from as many seeds as tell a difference by its sign."""
        plan = arm.prescription
        assert plan is not None
        needed = seeds_to_tell(_confidence(place))
        seeds = [*self.seeds, *(seed for seed in range(len(self.seeds) + needed) if seed not in self.seeds)][:needed]
        missing, lacking = ([seed for seed in seeds if seed not in one.seeds] for one in (arm, untreated))
        self.say(f"{named(plan)}: ahead from every seed, and their scatter may be luck; {len(missing)} seeds more.")
        untreated = Arm(None, untreated.courses + self.trained(None, lacking))
        arm = _compared(plan, arm.courses + self.trained(plan, missing), untreated, place=place)
        self.say(f"{named(plan)}: {told(arm)}.")
        return arm, untreated

    def trained(self, plan: Prescription | None, seeds: Sequence[int]) -> tuple[Course, ...]:
        """The courses of one arm, in the order of the seeds; those that are kept are not trained again."""
        edits, name = (plan.edits, plan.remedy) if plan is not None else ((), UNTREATED)
        done: dict[int, Course] = {}
        for seed in seeds:
            course, trouble = self.kept.course(edits, seed)
            if trouble:
                self.say(trouble)
            if course is not None:
                done[seed] = course
        called = named(plan) if plan is not None else UNTREATED
        tasks = [Task(tuple(edits), seed, name) for seed in seeds if seed not in done]
        if done:
            self.say(f"{called}: {len(done)} of {len(seeds)} trainings were made before.")
        with closing(self.engine.map(Training(self.trainer, self.kept), tasks)) as results:
            for place, given in results:
                seed = tasks[place].seed
                if isinstance(given, Died):  # nothing is kept of it, so that a study that goes on tries it again
                    done[seed] = Course(seed, np.empty(0), nan, fault=given.reason, died=True)
                    self.say(f"{called}, seed {seed}: {given.reason}; the same call would train it again.")
                    continue
                done[seed] = given
                how = given.fault or f"score {number(given.score)}"
                self.say(f"{called}, seed {seed}: {how}, {given.seconds:.3g} s.")
        return tuple(done[seed] for seed in seeds)

    # Diagnoses --------------------------------------------------------------------------------------------------------

    def diagnosis(self, arm: Arm) -> Diagnosis | None:
        """Of the run from the first seed; if nothing is wrong with it, of the one that came out worst.

        A run that cannot be read makes room for the next. None if none can.
        """
        healthy = None
        worst = min(arm.courses, key=lambda course: (isfinite(course.score), course.score))
        for course in dict.fromkeys((arm.courses[0], worst, *arm.courses)):
            if healthy is not None and course is not worst:
                break
            read = self.read(course)
            if read is not None and not read.healthy:
                return read
            healthy = healthy or read
        return healthy

    def read(self, course: Course) -> Diagnosis | None:
        if course.run is None:
            return None
        try:
            run = open_run(course.run)
        except NotRecorded as reason:
            self.say(f"seed {course.seed}: {reason}")
            return None
        return self.diagnose(run)
