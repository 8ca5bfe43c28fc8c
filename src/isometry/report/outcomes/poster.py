"""An outcome on one sheet: words above pictures."""

from isometry.report.draw import head, placard
from isometry.report.outcomes.pictures import outcome_charts
from isometry.report.outcomes.words import facts, headline, sentences, state, tone
from isometry.treatment.outcome import Outcome

__all__ = ["outcome_poster"]


def outcome_poster(outcome: Outcome, *, form: str) -> bytes:
    """Verdict and pictures as png, pdf or svg.

    Raises:
        IsometryError: matplotlib is not installed.
    """
    said = [*sentences(outcome), f"Before: {state(outcome.before)}."]
    return placard(head(facts(outcome), tone(outcome), headline(outcome), said), outcome_charts(outcome), form=form)
