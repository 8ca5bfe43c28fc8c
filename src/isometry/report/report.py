"""One call that writes a run or its diagnosis to a file, in the form that the suffix names."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.report.json import to_json
from isometry.report.markdown import markdown

__all__ = ["FORMS", "report"]


def report(thing: Run | Diagnosis, path: str | Path) -> Path:
    """Write a report; the file is there in full or not at all.

    Args:
        thing: a diagnosis, or a run, which is diagnosed first
        path: the file; its suffix names the form: .html .json .md .png .pdf .svg

    Returns:
        The path of the file.

    Raises:
        IsometryError: no form has that suffix, the thing is neither run nor diagnosis, or the file cannot be written.
    """
    path = Path(path)
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise IsometryError(
            f"{path}: no report has the suffix {path.suffix or '(none)'!r}. Choose one of {', '.join(FORMS)}."
        )
    if isinstance(thing, Run):
        thing = diagnose(thing)
    if not isinstance(thing, Diagnosis):
        raise IsometryError(
            f"A {type(thing).__name__} cannot be reported. Give a run or a diagnosis, "
            "for example isometry.load('runs/first')."
        )
    _write(path, form(thing))
    return path


def _html(diagnosis: Diagnosis) -> bytes:
    from isometry.report.html import page

    return page(diagnosis).encode("utf-8")


def _drawn(form: str) -> Callable[[Diagnosis], bytes]:
    def drawn(diagnosis: Diagnosis) -> bytes:
        from isometry.report.draw import poster

        return poster(diagnosis, form=form)

    return drawn


FORMS: dict[str, Callable[[Diagnosis], bytes]] = {
    ".html": _html,
    ".json": lambda diagnosis: (to_json(diagnosis) + "\n").encode("utf-8"),
    ".md": lambda diagnosis: markdown(diagnosis).encode("utf-8"),
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
