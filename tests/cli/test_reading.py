"""``isometry diagnose``, ``report``, ``rules`` and what all commands share."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isometry import __version__
from tests.cli.conftest import Ended, Recorded

Call = Callable[..., Ended]
COLOUR = re.compile(r"\x1b\[")


def test_diagnose_says_what_run_said(command: Call, sick: Recorded) -> None:
    ended = command("diagnose", str(sick.folder))
    assert ended.code == 1
    assert "vanishing gradient" in ended.out
    assert ended.err == ""


def test_diagnose_json_follows_fail_on_and_only(command: Call, sick: Recorded) -> None:
    ended = command("diagnose", str(sick.folder), "--json", "--only", "vanishing_gradient", "--fail-on", "never")
    document = json.loads(ended.out)
    assert ended.code == 0
    assert {finding["problem"] for finding in document["findings"]} == {"vanishing_gradient"}


@pytest.mark.parametrize("name", ["report.html", "report.json", "report.md", "report.png", "report.pdf"])
def test_report_is_written_by_its_suffix(command: Call, sick: Recorded, tmp_path: Path, name: str) -> None:
    ended = command("report", str(sick.folder), "-o", name)
    assert (ended.code, ended.out) == (0, f"{name}\n"), ended.err
    assert (tmp_path / name).stat().st_size > 500


def test_rules_are_listed_with_one_line_each(command: Call) -> None:
    ended = command("rules")
    listed = json.loads(command("rules", "--json").out)
    assert ended.code == 0
    assert len(listed) >= 2
    for rule in listed:
        assert re.search(rf"^{rule['code']} +{rule['problem']} ", ended.out, re.MULTILINE)


def test_rule_has_a_page_by_code_and_by_problem(command: Call) -> None:
    page = command("rules", "G101").out
    assert page.startswith("G101")
    assert page.strip() in command("rules", "vanishing_gradient").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("diagnose", "nowhere"), "nowhere"),
        (("diagnose", "."), "run"),
        (("report", "nowhere"), "nowhere"),
        (("rules", "G999"), "No rule is called 'G999'"),
        (("report",), "Missing argument 'RUN'"),
        (("dignose",), "No such command"),
    ],
)
def test_misuse_is_one_message(command: Call, arguments: tuple[str, ...], words: str) -> None:
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("name", ["diagnose", "report"])
def test_script_is_no_run(command: Call, tmp_path: Path, name: str) -> None:
    (tmp_path / "train it.py").touch()
    ended = command(name, "train it.py")
    assert ended.code == 2
    assert "train it.py is a script" in ended.err
    assert ended.err.endswith("isometry run 'train it.py'\n")


@pytest.fixture
def several(sick: Recorded, tmp_path: Path) -> list[str]:
    """Names of three runs in ``runs/``, newest first, beside a folder that is none."""
    for age, name in enumerate(("new", "middle", "old")):
        copy = tmp_path / "runs" / name
        shutil.copytree(sick.folder, copy)
        os.utime(copy / "run.json", (1e9 - age, 1e9 - age))
    (tmp_path / "runs" / "none").mkdir()
    return ["runs/new", "runs/middle", "runs/old"]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("runs/", "runs holds 3 runs, and one is needed."),
        ("nowhere", "There is no folder nowhere."),
        ("runs/none", "runs/none is a folder without run.json"),
    ],
)
def test_runs_that_there_are_are_named_newest_first(command: Call, several: list[str], named: str, words: str) -> None:
    ended = command("diagnose", named)
    assert ended.code == 2
    assert words in ended.err
    assert f"newest first: {', '.join(several)}." in ended.err


def test_file_of_a_run_points_to_its_folder(command: Call, several: list[str]) -> None:
    assert command("diagnose", "runs/old/run.json").err.endswith("Name runs/old.\n")


def test_run_of_a_later_version_says_what_to_do(command: Call, several: list[str], tmp_path: Path) -> None:
    document = tmp_path / "runs" / "new" / "run.json"
    document.write_text(document.read_text().replace("isometry/run/1", "isometry/run/12"))
    ended = command("diagnose", "runs/new")
    assert ended.code == 2
    for part in ("its schema is isometry/run/12", f"isometry {__version__}, reads isometry/run/1", "Upgrade isometry"):
        assert part in ended.err


def test_unknown_suffix_is_misuse(command: Call, sick: Recorded) -> None:
    ended = command("report", str(sick.folder), "-o", "report.docx")
    assert ended.code == 2
    assert ".docx" in ended.err


@pytest.mark.parametrize("name", ["run", "diagnose", "report", "rules"])
def test_help_has_an_example_and_the_json_option(command: Call, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    assert f"isometry {name}" in ended.out.partition("Example:")[2]
    assert "--json" in ended.out


def test_version_is_told_by_the_module_too(isometry: Call) -> None:
    assert re.fullmatch(r"isometry \d+\.\d+\.\d+\n", isometry("--version").out)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_is_for_those_who_want_it(
    command: Call, sick: Recorded, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bool(COLOUR.search(command("diagnose", str(sick.folder)).out)) is coloured
