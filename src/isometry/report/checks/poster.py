"""A check or a prediction on one sheet: words above pictures, for slides and papers."""

from isometry.diagnosis.check import Check, Prediction
from isometry.report.checks.pictures import check_album, prediction_album
from isometry.report.checks.words import dead_words, expectation, facts, headline, leads, told_diagnosis
from isometry.report.draw import head, placard, told_findings
from isometry.report.text import tone_of

__all__ = ["check_poster", "prediction_poster"]


def check_poster(check: Check, *, form: str) -> bytes:
    """Verdict, findings and pictures as png, pdf or svg.

    Raises:
        IsometryError: matplotlib is not installed.
    """
    lead = leads(check) if check.healthy else leads(check)[1:]
    told = head(
        facts(check.prediction, check.run.provenance.get("parameters")), tone_of(check.diagnosis), headline(check), lead
    )
    return placard([*told, *told_findings(told_diagnosis(check))], check_album(check).all, form=form)


def prediction_poster(prediction: Prediction, *, form: str) -> bytes:
    """What is to be expected, and its pictures, as png, pdf or svg.

    Raises:
        IsometryError: matplotlib is not installed.
    """
    said = [dead_words(prediction)] if prediction.dead > 0 else []
    told = head(facts(prediction), "NOTE", expectation(prediction), [*said, *prediction.notes])
    return placard(told, prediction_album(prediction).all, form=form)
