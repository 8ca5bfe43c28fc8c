"""Classics are run, kept, found again, and shown together."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isometry.classics import gallery
from isometry.classics.classic import Claim, Classic, Exhibit, Study, Verdict
from isometry.classics.experiments.linear_depth import linear_depth
from isometry.classics.gallery import Order, find_classic, run_all, run_one, write_gallery
from isometry.errors import IsometryError
from isometry.report.chart import Axis, Chart, Line


def drawn(study: Study) -> Exhibit:
    values = np.random.default_rng(study.seeds[0]).normal(size=5)
    chart = Chart(
        title="<b>five</b> numbers",
        reading="Read it.",
        x=Axis("place"),
        y=Axis("size"),
        shapes=(Line("", np.arange(5.0), values),),
        alt="Five numbers.",
    )
    claim = Claim("They are large.", f"At most {values.max():.2f}.", Verdict.FALLS, expected=Verdict.FALLS)
    return Exhibit((claim,), (chart, chart), {"values": values, "nan": float("nan")}, remarks=("Nothing was trained.",))


DRAWN = Classic("drawn", "Are five numbers large?", ("A1",), "nobody", 1, "They are drawn.", drawn)


def silent(words: str) -> None:
    """Progress is of no interest here."""


def order(folder: Path, **settings: object) -> Order:
    return replace(Order(folder / "out", seeds=3, fast=True), **settings)


def test_a_classic_leaves_numbers_pictures_and_a_page(tmp_path):
    result = run_one(DRAWN, order(tmp_path), silent)
    facts = json.loads((result.folder / "result.json").read_text())
    assert facts == result.facts
    assert facts["numbers"]["nan"] == "nan"
    assert [(result.folder / name).read_bytes()[:4] for name in facts["pictures"]] == [b"\x89PNG", b"\x89PNG"]
    page = (result.folder / "report.html").read_text()
    assert "DOES NOT STAND" in page
    assert "&lt;b&gt;five&lt;/b&gt;" in page
    assert "<b>five" not in page
    assert result.as_expected


def test_a_result_is_kept_until_something_it_depends_on_changes(tmp_path):
    first = run_one(DRAWN, order(tmp_path), silent)
    assert first.is_new
    again = run_one(DRAWN, order(tmp_path), silent)
    assert (again.is_new, again.facts, again.section) == (False, first.facts, first.section)
    assert run_one(DRAWN, order(tmp_path, seeds=4), silent).is_new
    assert run_one(DRAWN, order(tmp_path, seeds=4, fast=False), silent).is_new
    assert not run_one(DRAWN, order(tmp_path, seeds=4, fast=False), silent).is_new
    assert run_one(DRAWN, order(tmp_path, seeds=4, fast=False, again=True), silent).is_new


@pytest.mark.parametrize("damage", ["", "{", '{"made_by": 1}', "[]"])
def test_a_torn_result_is_made_again(tmp_path, damage):
    result = run_one(DRAWN, order(tmp_path), silent)
    (result.folder / "result.json").write_text(damage)
    assert run_one(DRAWN, order(tmp_path), silent).is_new


def test_an_interrupted_classic_leaves_no_result(tmp_path):
    def interrupted(study: Study) -> Exhibit:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(replace(DRAWN, experiment=interrupted), order(tmp_path), silent)
    assert run_one(DRAWN, order(tmp_path), silent).is_new


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(tmp_path):
    facts = [dict(run_one(linear_depth, order(tmp_path / name), silent).facts) for name in ("one", "two")]
    for fact in facts:
        del fact["seconds"]
    assert facts[0] == facts[1]


@pytest.mark.slow
def test_runs_of_last_time_make_room_and_nothing_else_does(tmp_path):
    wanted = order(tmp_path, again=True)
    folder = run_one(linear_depth, wanted, silent).folder
    (folder / "runs" / "mine").mkdir()
    (folder / "runs" / "mine" / "thesis.txt").write_text("years of work")
    run_one(linear_depth, wanted, silent)
    assert sorted(path.name for path in (folder / "runs").iterdir()) == [
        "a-0.5", "a-0.9", "a-1", "a-1.1", "a-1.5", "mine",
    ]  # fmt: skip
    assert (folder / "runs" / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_all_of_them_make_one_page(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "classics", lambda: (linear_depth,))
    results = list(run_all(order(tmp_path), silent, processes=2))
    assert [result.is_new for result in results] == [True]
    assert [result.is_new for result in run_all(order(tmp_path), silent, processes=2)] == [False]
    monkeypatch.setattr(gallery, "classics", lambda: (DRAWN, linear_depth))
    results.append(run_one(DRAWN, order(tmp_path), silent))
    page = write_gallery(results, order(tmp_path)).read_text()
    headings = re.findall(r'<h2 id="([^"]+)"', page)
    assert headings == ["drawn", "linear-depth"]  # in the order of the shelf
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    assert re.findall(r'(?:src|href)="(?!#)', page) == []


def test_an_unknown_name_is_told_with_those_there_are():
    with pytest.raises(IsometryError, match=r"No classic is called 'linear'.*linear-depth"):
        find_classic("linear")


def test_an_unexpected_verdict_is_told(tmp_path):
    def changed(study: Study) -> Exhibit:
        exhibit = drawn(study)
        return replace(exhibit, claims=(replace(exhibit.claims[0], expected=Verdict.STANDS),))

    result = run_one(replace(DRAWN, experiment=changed), order(tmp_path), silent)
    assert not result.as_expected
    assert "differs from before" in result.section
