"""The page: complete in itself, and nothing that a run names becomes markup."""

import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from isometry.report.html import layer_table, page
from tests.report.drawn import RUNS, diagnosed, hostile, vanishing
from tests.runs import make_run

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Collects what a test asks about, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


PAGES = [(name, sick) for name in RUNS for sick in (True, False)]


@pytest.fixture(scope="module")
def pages():
    return {(name, sick): page(diagnosed(RUNS[name](), sick=sick)) for name, sick in PAGES}


@pytest.mark.parametrize("key", PAGES)
def test_every_element_is_closed_and_every_id_unique(pages, key):
    reader = read(pages[key])
    assert reader.wrong == []
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in reader.elements:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in ids


@pytest.mark.parametrize("key", PAGES)
def test_nothing_runs_and_nothing_is_asked_for(pages, key):
    reader = read(pages[key])
    tags = {tag for tag, _ in reader.elements}
    assert tags.isdisjoint({"script", "iframe", "object", "embed", "link", "img", "form", "base", "foreignobject"})
    for tag, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:image/png;base64,")), (tag, name, address)
    assert "default-src 'none'" in pages[key]
    assert not re.search(r"url\((?!#)|@import|https?://", pages[key])


@pytest.mark.parametrize("key", PAGES)
def test_the_page_has_the_bones_that_readers_need(pages, key):
    reader = read(pages[key])
    tags = [tag for tag, _ in reader.elements]
    assert ("html", {"lang": "en"}) in reader.elements
    assert tags.count("main") == tags.count("h1") == 1
    assert "title" in tags
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    for tag, attributes in reader.elements:
        assert tag != "th" or attributes.get("scope") in ("row", "col")
        assert tag != "svg" or attributes.get("role") == "img"


def test_names_stay_names():
    text = page(diagnosed(hostile()))
    assert "<script" not in text
    assert "onerror=alert(1)&gt;" in text
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in text
    assert "\x1b" not in text


def test_the_picture_stands_beside_the_finding_that_it_proves():
    article = page(diagnosed(vanishing())).partition('id="finding-1"')[2].partition("</article>")[0]
    assert "δ falls by 6.0 decades from fc11 to fc1" in article
    assert "<svg" in article


def test_every_picture_has_words_and_numbers():
    reader = page(diagnosed(vanishing()))
    assert reader.count("<svg") == reader.count("<summary>In words</summary>") == reader.count("<summary>The numbers")
    assert reader.count("<desc") == reader.count("<svg")


def test_what_was_not_checked_is_said_with_its_reason():
    text = page(diagnosed(vanishing()))
    assert "fewer than 50 steps" in text
    assert "no recurrent layer whose δ was kept by time step" in text


def test_what_was_not_recorded_is_a_dash_and_what_is_not_a_number_says_so():
    table = layer_table(make_run(delta_rms=[1.0, np.nan, np.nan], delta_nan=[0, 0, 5]))
    assert [row[table.columns.index("δ, step 0")] for row in table.rows] == ["1", "–", "NaN"]
