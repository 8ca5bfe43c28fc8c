"""What every page of ours is made of: one self-contained HTML document, pictures with their words, tables.

A page asks for nothing: no script, no outer style, font or picture, and a content security policy that forbids them.
Whatever a user or a run named is escaped where it is written.
"""

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from isometry.report.chart import Chart, Table
from isometry.report.svg import svg
from isometry.report.words import clean

__all__ = ["document", "figure", "safe", "tabulate"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def document(title: str, body: Iterable[str], *, skip: str) -> str:
    """A whole page.

    Args:
        title: as plain text.
        body: pieces of HTML; the main one has the id ``main``. Empty ones are left out.
        skip: words of the link that leads past the header.
    """
    style = (files("isometry.report") / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{safe(title)}</title>\n"
        f"<style>\n{style}</style>\n</head>\n"
        f'<body>\n<a class="skip" href="#main">{safe(skip)}</a>\n'
        + "\n".join(part for part in body if part)
        + "\n<footer><p>Written by isometry. This file is complete: it asks for nothing from anywhere.</p></footer>"
        + "\n</body>\n</html>\n"
    )


def safe(text: str) -> str:
    """Text that no browser takes for markup, no control characters in it."""
    return escape(clean(text), quote=True)


def figure(chart: Chart, identifier: str, *, width: float) -> str:
    """A picture with its title, how to read it, the same in words, and its numbers.

    ``identifier`` is unique on the page.
    """
    numbers = ""
    if chart.table.rows:
        numbers = f"<details><summary>The numbers</summary>{tabulate(chart.table, chart.title)}</details>"
    return (
        f"<figure><figcaption><h3>{safe(chart.title)}</h3><p>{safe(chart.reading)}</p></figcaption>"
        f'<div class="canvas" tabindex="0" role="group" aria-label="{safe("Picture: " + chart.title)}">'
        f"{svg(chart, identifier=identifier, width=width)}</div>"
        f'<div class="more"><details><summary>In words</summary><p>{safe(chart.alt)}</p></details>{numbers}</div>'
        "</figure>"
    )


def tabulate(table: Table, words: str, *, numeric_from: int = 1) -> str:
    """A table that scrolls; ``words`` name it to those who do not see it, numbers stand from a column on."""
    numeric = [
        place >= numeric_from and all(_is_number(row[place]) for row in table.rows)
        for place in range(len(table.columns))
    ]
    classes = [' class="n"' if flag else "" for flag in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{safe(name)}</th>' for name, kind in zip(table.columns, classes, strict=True)
    )
    rows = []
    for row in table.rows:
        cells = "".join(f"<td{kind}>{safe(cell)}</td>" for cell, kind in zip(row[1:], classes[1:], strict=True))
        rows.append(f'<tr><th scope="row">{safe(row[0])}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{safe("Table: " + words)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _is_number(cell: str) -> bool:
    return not cell or cell in ("–", "NaN", "∞", "−∞") or cell[0] in "0123456789−+"
