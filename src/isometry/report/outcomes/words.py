"""What is said of a treatment, in the terminal and on the page."""

import math

from isometry.diagnosis.finding import Diagnosis, Severity
from isometry.network.script import Script
from isometry.report.chart import Table
from isometry.report.words import clean, decades, notes_of, plural, titled
from isometry.treatment.contrast import Contrast, number
from isometry.treatment.naming import details
from isometry.treatment.outcome import Arm, Outcome

__all__ = [
    "ARMS",
    "PATCH",
    "WRONG",
    "arm_name",
    "arm_table",
    "best_arm",
    "ended_early",
    "facts",
    "headline",
    "is_the_cure",
    "patch_lines",
    "score_words",
    "sentences",
    "state",
    "tone",
]

ARMS = "What was tried"
PATCH = "The change, to make by hand"
WRONG = "What was wrong, without a change"
ARM_COLUMNS = ("arm", "score", "difference", "interval", "trainings", "")
TONES = {"helped": "HEALTHY", "no difference": "SLOWS", "harmed": "HARMS", "nothing to fix": "HEALTHY"}
UNTREATED = "untreated"
DIGITS = 3


def tone(outcome: Outcome) -> str:
    """The verdict as the name of a severity, for colour."""
    return "SLOWS" if outcome.verdict == "helped" and not _is_healthy(outcome.after) else TONES[outcome.verdict]


def headline(outcome: Outcome) -> str:
    """The verdict in one line."""
    match outcome.verdict:
        case "helped":
            return _helped(outcome)
        case "nothing to fix":
            return "There is nothing to fix"
        case "harmed":
            return "Whatever was tried did harm"
    return "Nothing that was tried is proved to help" if len(outcome.trials) > 1 else "There was nothing to try"


def _helped(outcome: Outcome) -> str:
    """What is better, and whether that is enough."""
    best, survival = best_arm(outcome), outcome.contrast is not None and outcome.contrast.survival
    named = f"{_capital(arm_name(best))}: " if best is not None else ""
    better = "training no longer breaks down" if survival else "it helped"
    if _is_healthy(outcome.after):
        return _capital(f"{named}{better}")
    return _capital(f"{named}{better}, but {'' if survival else 'training '}is not healthy yet")


def _is_healthy(diagnosis: Diagnosis | None) -> bool:
    """As far as is known."""
    return diagnosis is None or diagnosis.healthy


def facts(outcome: Outcome) -> list[str]:
    """Size and cost of the study."""
    courses = [course for arm in outcome.trials for course in arm.courses]
    seconds = sum(course.seconds for course in courses)
    seeds = {course.seed for course in courses}
    return [
        plural(len(outcome.trials), "arm"),
        plural(len(seeds), "seed"),
        plural(len(courses), "training"),
        f"{seconds:.0f} s of training",
    ]


def sentences(outcome: Outcome) -> list[str]:
    """What happened, and what else one should know."""
    best = best_arm(outcome)
    if best is None or best.prescription is None or outcome.contrast is None:
        said = [outcome.words]
    elif not (math.isfinite(outcome.trials[0].score) and math.isfinite(best.score)):
        said = [outcome.words, best.prescription.words]
    else:
        change = f"{_signed(outcome.contrast.mean)}{_sure(outcome.contrast)}"
        said = [f"The score goes from {number(outcome.trials[0].score)} to {number(best.score)}: {change}"]
        if outcome.verdict != "helped" or not outcome.contrast.low > 0 or outcome.contrast.rescued:
            said.append(outcome.words)
        said.append(best.prescription.words)
    return [_sentence(words) for words in (*said, *outcome.notes, *notes_of(outcome.before.run))]


def score_words(outcome: Outcome) -> str:
    """What the score is."""
    training = outcome.experiment
    if isinstance(training, Script) and training.metric is not None:
        minus = "minus " if training.metric.lower_is_better else ""
        return f"{minus}what the script gives as {training.metric.name}; higher is better"
    if isinstance(training, Script):
        return "minus the mean loss over the last tenth of the steps; higher is better"
    if training.metric is not None:
        return "the experiment's metric; higher is better"
    return "minus the loss after the last step, on validation data if there are some; higher is better"


def state(diagnosis: Diagnosis | None) -> str:
    """A diagnosis in one line: its findings, worst first."""
    if diagnosis is None:
        return "not diagnosed"
    bad = [finding for finding in diagnosis.findings if finding.severity >= Severity.SLOWS]
    if not bad:
        return "healthy"
    worst: dict[str, list[Severity]] = {}
    for finding in bad:
        worst.setdefault(titled(finding), []).append(Severity(finding.severity))
    return "; ".join(
        f"{name} ({found[0].name}{f', {len(found)} findings' if len(found) > 1 else ''})"
        for name, found in worst.items()
    )


def arm_name(arm: Arm) -> str:
    """What an arm is called."""
    if arm.prescription is None:
        return UNTREATED
    told = details(arm.prescription)
    return clean(arm.prescription.remedy).replace("-", " ") + (f" ({told})" if told else "")


def arm_table(outcome: Outcome) -> Table:
    """One row for each arm: mean score, difference to the untreated one over the same seeds, remarks."""
    rows = []
    for arm in outcome.trials:
        expected = arm.prescription.expected if arm.prescription is not None else None
        remarks = [
            f"foretold {decades(expected)} decades" if expected is not None and math.isfinite(expected) else "",
            *ended_early(arm),
            "◂ the best" if is_the_cure(arm, outcome) else "",
        ]
        rows.append(
            (
                arm_name(arm),
                number(arm.score),
                _signed(arm.contrast.mean) if arm.contrast is not None else "",
                _interval(arm.contrast),
                str(len(arm.courses)),
                "; ".join(clean(words) for words in remarks if words),
            )
        )
    return Table(ARM_COLUMNS, tuple(rows))


def ended_early(arm: Arm) -> list[str]:
    """Why an arm was not trained from all seeds, or to its end."""
    faults = [fault for fault in arm.faults[:1] if fault not in arm.stopped]
    return [clean(words) for words in (arm.stopped, *faults) if words]


def is_the_cure(arm: Arm, outcome: Outcome) -> bool:
    """Whether it is the one that helped."""
    return outcome.verdict == "helped" and arm is best_arm(outcome)


def best_arm(outcome: Outcome) -> Arm | None:
    """The arm that the prescription was tried in; None if nothing is prescribed."""
    if outcome.prescription is None:
        return None
    return next((arm for arm in outcome.trials if arm.prescription == outcome.prescription), None)


def patch_lines(patch: str) -> list[tuple[str, str]]:
    """Lines of a change to make by hand, each with its part in a diff: ``added``, ``removed``, ``place`` or none."""
    is_diff = patch.startswith("--- ")
    told = []
    for line in patch.splitlines():
        is_diff = is_diff and not line.startswith("#")  # below a diff stands what it leaves to be done
        part = PARTS.get(line[:1], "") if is_diff and not line.startswith(("---", "+++")) else ""
        told.append((part, "\t".join(map(clean, line.split("\t")))))  # a diff with other blanks does not apply
    return told


PARTS = {"+": "added", "-": "removed", "@": "place"}


def _interval(contrast: Contrast | None) -> str:
    if contrast is None or not (math.isfinite(contrast.low) and math.isfinite(contrast.high)):
        return ""
    return f"{_signed(contrast.low)} … {_signed(contrast.high)}"


def _sure(contrast: Contrast) -> str:
    interval = _interval(contrast)
    return f", {100 * contrast.confidence:.3g} % interval {interval}" if interval else ""


def _sentence(words: str) -> str:
    words = words.strip()
    return words if not words or words.endswith((".", "!", "?")) else f"{words[:1].upper()}{words[1:]}."


def _signed(value: float) -> str:
    return f"{value:+.{DIGITS}g}".replace("-", "−") if math.isfinite(value) else "beyond measure"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
