"""How a diagnosis leaves the command line: as words or JSON on standard output, and as an exit code."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TextIO

import typer

from isometry.cli.values import FailOn, fail_on
from isometry.diagnosis.finding import Diagnosis, Severity
from isometry.report.json import strict
from isometry.report.text import diagnosis_text, wants_colour

__all__ = ["FailOnOption", "exit_code", "print_json", "print_verdict", "print_words"]


FailOnOption = Annotated[
    FailOn,
    typer.Option(
        "--fail-on",
        parser=fail_on,
        metavar="|".join(FailOn),
        help="End with 1 if a finding is at least this bad.",
    ),
]


def exit_code(diagnosis: Diagnosis, fail_on: FailOn) -> int:
    """0, or 1 where a finding is at least as bad as asked for."""
    if fail_on is FailOn.NEVER:
        return 0
    limit = Severity[fail_on.name]
    return int(any(finding.severity >= limit for finding in diagnosis.findings))


def print_verdict(
    diagnosis: Diagnosis, *, closing: Sequence[tuple[str, str]] = (), stream: TextIO | None = None
) -> None:
    """The diagnosis in words."""
    stream = stream or sys.stdout
    print_words(diagnosis_text(diagnosis, colour=wants_colour(stream), closing=closing), stream=stream)


def print_words(text: str, *, stream: TextIO | None = None) -> None:
    """A text of ours; a terminal that cannot show a sign shows a question mark, no trace."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)


def print_json(document: Any, *, stream: TextIO | None = None) -> None:
    """One JSON document on a stream that carries nothing else."""
    text = json.dumps(strict(document), ensure_ascii=False, allow_nan=False, indent=2)
    print(text, file=stream or sys.stdout, flush=True)
