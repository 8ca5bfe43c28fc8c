"""An outcome as one HTML file."""

from collections.abc import Iterator

from isometry.report import html
from isometry.report.outcomes.pictures import outcome_charts
from isometry.report.outcomes.words import (
    ARMS,
    PATCH,
    WRONG,
    arm_table,
    best_arm,
    facts,
    headline,
    patch_lines,
    sentences,
    state,
    tone,
)
from isometry.report.page import document, safe, tabulate
from isometry.report.pictures import album
from isometry.treatment.outcome import Outcome

__all__ = ["outcome_page"]


def outcome_page(outcome: Outcome) -> str:
    """Verdict, pictures of before and after, every arm, and the change to make by hand."""
    said = [*sentences(outcome), f"Before: {state(outcome.before)}."]
    if best_arm(outcome) is not None:
        said.append(f"After: {state(outcome.after)}.")
    charts = outcome_charts(outcome)
    body = [
        html.header(facts(outcome)),
        '<main id="main">',
        html.verdict(tone(outcome), headline(outcome), said, badge=outcome.verdict.upper()),
        *html.gallery("Before and after", charts, len(outcome.before.findings)),
        _arms(outcome),
        _patch(outcome),
        *_before(outcome),
        "</main>",
    ]
    return document(f"isometry: {headline(outcome)}", body, skip="Skip to the verdict")


def _before(outcome: Outcome) -> Iterator[str]:
    """What was found without a change, each finding beside the picture that proves it."""
    if outcome.before.findings:
        yield f'<section aria-labelledby="wrong"><h2 id="wrong">{WRONG}</h2></section>'
        yield from html.findings(outcome.before, album(outcome.before).proofs)


def _arms(outcome: Outcome) -> str:
    if len(outcome.trials) < 2:
        return ""
    return f'<section aria-labelledby="arms"><h2 id="arms">{ARMS}</h2>{tabulate(arm_table(outcome), ARMS)}</section>'


def _patch(outcome: Outcome) -> str:
    if not outcome.patch:
        return ""
    lines = [(part, safe(line)) for part, line in patch_lines(outcome.patch)]
    code = "\n".join(f'<span class="{part}">{line}</span>' if part else line for part, line in lines)
    return (
        f'<section aria-labelledby="patch"><h2 id="patch">{PATCH}</h2>'
        f'<pre class="patch" tabindex="0"><code>{code}</code></pre></section>'
    )
