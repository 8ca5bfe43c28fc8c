"""One call that writes what isometry found to a file, in the form that the suffix names."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from isometry.diagnosis.check import Check, Prediction
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.report.checks.markdown import check_markdown, prediction_markdown
from isometry.report.json import to_json
from isometry.report.markdown import markdown
from isometry.report.outcomes.markdown import outcome_markdown
from isometry.treatment.outcome import Outcome

__all__ = ["FORMS", "Reported", "report"]

Reported = Diagnosis | Check | Prediction | Outcome
"""What there are reports of."""


def report(thing: Run | Reported, path: str | Path) -> Path:
    """Write a report; the file is there in full or not at all.

    Args:
        thing: a diagnosis, a check, a prediction, an outcome, or a run, which is diagnosed first
        path: the file; its suffix names the form: .html .json .md .png .pdf .svg

    Returns:
        The path of the file.

    Raises:
        IsometryError: no form has that suffix, the thing is none of these, or the file cannot be written.
    """
    path = Path(path)
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise IsometryError(
            f"{path}: no report has the suffix {path.suffix or '(none)'!r}. Choose one of {', '.join(FORMS)}."
        )
    if isinstance(thing, Run):
        thing = diagnose(thing)
    if not isinstance(thing, Reported):
        raise IsometryError(
            f"A {type(thing).__name__} cannot be reported. Give a run, a diagnosis, a check, a "
            "prediction or an outcome, for example isometry.load('runs/first')."
        )
    _write(path, form(thing))
    return path


def _html(thing: Reported) -> bytes:
    from isometry.report.checks.html import check_page, prediction_page
    from isometry.report.html import page
    from isometry.report.outcomes.html import outcome_page

    match thing:
        case Check():
            return check_page(thing).encode("utf-8")
        case Prediction():
            return prediction_page(thing).encode("utf-8")
        case Outcome():
            return outcome_page(thing).encode("utf-8")
    return page(thing).encode("utf-8")


def _markdown(thing: Reported) -> bytes:
    match thing:
        case Check():
            return check_markdown(thing).encode("utf-8")
        case Prediction():
            return prediction_markdown(thing).encode("utf-8")
        case Outcome():
            return outcome_markdown(thing).encode("utf-8")
    return markdown(thing).encode("utf-8")


def _drawn(form: str) -> Callable[[Reported], bytes]:
    def drawn(thing: Reported) -> bytes:
        from isometry.report.checks.poster import check_poster, prediction_poster
        from isometry.report.draw import poster
        from isometry.report.outcomes.poster import outcome_poster

        match thing:
            case Check():
                return check_poster(thing, form=form)
            case Prediction():
                return prediction_poster(thing, form=form)
            case Outcome():
                return outcome_poster(thing, form=form)
        return poster(thing, form=form)

    return drawn


FORMS: dict[str, Callable[[Reported], bytes]] = {
    ".html": _html,
    ".json": lambda thing: (to_json(thing) + "\n").encode("utf-8"),
    ".md": _markdown,
    ".png": _drawn("png"),
    ".pdf": _drawn("pdf"),
    ".svg": _drawn("svg"),
}
"""What each suffix asks for."""


def _write(path: Path, content: bytes) -> None:
    """Write beside the target, then put it in place, so that a reader never sees half a report."""
    handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        Path(beside).chmod(0o666 & ~mask)
        Path(beside).replace(path)
    except OSError as fault:
        if handle is not None:
            with contextlib.suppress(OSError):
                Path(beside).unlink()
        raise IsometryError(
            f"{path}: the report could not be written, {fault.strerror or fault}. Choose another place."
        ) from None
