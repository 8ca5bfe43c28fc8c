"""One call for every form, and what happens when it cannot be done."""

import os
import sys

import pytest

import isometry
from isometry.errors import IsometryError
from isometry.report.report import FORMS, report
from tests.report.drawn import RUNS, diagnosed, tiny

STARTS = {
    ".html": b"<!doctype html>",
    ".json": b"{",
    ".md": b"# ",
    ".png": b"\x89PNG",
    ".pdf": b"%PDF",
    ".svg": b"<?xml",
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMS)
def test_the_suffix_decides_the_form(suffix, tmp_path):
    path = report(diagnosed(tiny()), tmp_path / "deep" / f"report{suffix.upper()}")
    assert path.read_bytes().startswith(STARTS[suffix])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".html", ".json", ".md", pytest.param(".png", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RUNS)
def test_no_run_is_too_odd_to_be_reported(name, suffix, tmp_path):
    assert report(diagnosed(RUNS[name]()), tmp_path / f"report{suffix}").stat().st_size > 500


def test_a_run_is_diagnosed_first(tmp_path):
    assert '"schema": "isometry/diagnosis/1"' in report(tiny(), tmp_path / "r.json").read_text()


@pytest.mark.parametrize("name", ["report.txt", "report"])
def test_an_unknown_suffix_names_those_that_are_known(name, tmp_path):
    with pytest.raises(IsometryError, match=r"\.html, \.json, \.md, \.png, \.pdf"):
        report(diagnosed(tiny()), tmp_path / name)


def test_something_else_cannot_be_reported(tmp_path):
    with pytest.raises(IsometryError, match="A int cannot be reported"):
        report(3, tmp_path / "r.html")  # type: ignore[arg-type]


def test_a_file_that_cannot_be_written_is_an_error_in_words_and_leaves_nothing(tmp_path):
    (tmp_path / "r.html").mkdir()
    with pytest.raises(IsometryError, match="could not be written"):
        report(diagnosed(tiny()), tmp_path / "r.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]


def test_a_report_replaces_the_one_before_and_has_the_usual_rights(tmp_path):
    path = tmp_path / "r.md"
    path.write_text("old")
    report(diagnosed(tiny()), path)
    mask = os.umask(0)
    os.umask(mask)
    assert path.read_text().startswith("# ")
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(IsometryError, match=r'pip install "isometry\[plot\]"'):
        report(diagnosed(tiny()), tmp_path / "r.png")
    assert isometry.report(tiny(), tmp_path / "r.html").exists()


def test_markdown_takes_no_name_for_markup(tmp_path):
    told = report(diagnosed(RUNS["hostile"]()), tmp_path / "r.md").read_text()
    assert "<script>" not in told
    assert r"\<script\>" in told


@pytest.mark.slow
def test_the_same_diagnosis_gives_the_same_bytes(tmp_path):
    for suffix in (".html", ".png", ".svg"):
        first = report(diagnosed(tiny()), tmp_path / f"a{suffix}").read_bytes()
        assert report(diagnosed(tiny()), tmp_path / f"b{suffix}").read_bytes() == first
