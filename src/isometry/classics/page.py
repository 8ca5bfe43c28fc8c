"""A classic as a section of a page, one section as a page, and all of them as a gallery."""

from collections.abc import Sequence

from isometry.classics.classic import Classic, Exhibit, Verdict
from isometry.classics.result import Result
from isometry.report.page import document, figure, safe
from isometry.report.text import headline

__all__ = ["gallery", "page", "section"]

TONES = {Verdict.STANDS: "HEALTHY", Verdict.PARTLY: "SLOWS", Verdict.FALLS: "HARMS"}


def section(classic: Classic, exhibit: Exhibit) -> str:
    """The piece of a page that shows one classic."""
    claims = "".join(
        f'<div class="claim {TONES[claim.verdict]}"><span class="severity">{safe(str(claim.verdict).upper())}</span>'
        f'<dl class="why"><dt>claimed</dt><dd>{safe(claim.words)}</dd>'
        f"<dt>measured</dt><dd>{safe(claim.measured)}{_changed(claim.as_expected, str(claim.expected))}</dd></dl></div>"
        for claim in exhibit.claims
    )
    pictures = "".join(
        figure(chart, f"{classic.name}-{place}", width=660 if place == 1 else 540)
        for place, chart in enumerate(exhibit.charts, start=1)
    )
    remarks = "".join(f"<p>{safe(remark)}</p>" for remark in exhibit.remarks)
    runs = "".join(
        f"<li>{safe(words)}: <b>{safe(headline(diagnosis))}</b></li>" for words, diagnosis in exhibit.diagnoses.items()
    )
    verdicts = f'<p>What the diagnosis says of its runs:</p><ul class="runs">{runs}</ul>' if runs else ""
    return (
        f'<section class="classic" aria-labelledby="{classic.name}"><h2 id="{classic.name}">{safe(classic.title)}</h2>'
        f'<p class="where">{safe(classic.name)} · {safe(", ".join(classic.covers))} · {safe(classic.source)}</p>'
        f'<div class="claims">{claims}</div><div class="gallery">{pictures}</div>'
        f'<div class="remarks">{remarks}{verdicts}<details><summary>How the experiment goes</summary>'
        f"{_paragraphs(classic.doc)}</details></div></section>"
    )


def _changed(as_expected: bool, expected: str) -> str:
    return "" if as_expected else f" <b>This differs from before, when the verdict was: {safe(expected)}.</b>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{safe(part)}</p>" for part in text.split("\n\n"))


def page(result: Result) -> str:
    """One classic as a page of its own."""
    header = '<header><span class="mark">isometry</span><span class="fact">classic</span></header>'
    title = f"{result.facts['title']} · isometry"
    return document(title, [header, '<main id="main">', result.section, "</main>"], skip="Skip to the experiment")


def gallery(results: Sequence[Result]) -> str:
    """All of them on one page, with a list of what they say on top."""
    rows = "".join(
        f'<li><a href="#{safe(result.name)}">{safe(str(result.facts["title"]))}</a> '
        f"<span>{safe(_counts(result))}</span></li>"
        for result in results
    )
    claims = sum(len(result.facts["claims"]) for result in results)
    facts = f'<span class="fact">{len(results)} classics, {claims} claims</span>'
    header = f'<header><span class="mark">isometry</span>{facts}</header>'
    head = f'<h1>The textbook experiments, rerun</h1><ul class="contents">{rows}</ul>'
    body = [header, '<main id="main">', head, *(result.section for result in results), "</main>"]
    return document("The textbook experiments, rerun · isometry", body, skip="Skip to the list")


def _counts(result: Result) -> str:
    """``3 claims stand, 1 does not``."""
    verdicts = [claim["verdict"] for claim in result.facts["claims"]]
    said = {
        Verdict.STANDS: ("claim stands", "claims stand"),
        Verdict.PARTLY: ("stands in part", "stand in part"),
        Verdict.FALLS: ("does not stand", "do not stand"),
    }
    counts = [(verdicts.count(verdict), words) for verdict, words in said.items()]
    return ", ".join(f"{count} {words[count > 1]}" for count, words in counts if count)
