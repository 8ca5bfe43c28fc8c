"""The documents say what is true of this version."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from isometry.diagnosis.finding import PROBLEMS
from isometry.diagnosis.rule import rules

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MISSION = (
    *(f"A{n}" for n in range(1, 7)),
    *(f"B{n}" for n in range(1, 11)),
    *(f"C{n}" for n in range(1, 13)),
    *(f"D{n}" for n in range(1, 3)),
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date() -> None:
    module = generator()
    expected = module.pages()
    held = (path for folder in module.FOLDERS for path in (DOCS / folder).glob("*.md"))
    written = {path.relative_to(DOCS): path.read_text(encoding="utf-8") for path in held}
    assert written == expected, "run `make docs`"


def test_coverage_has_one_row_for_every_part_of_the_mission() -> None:
    rows = re.findall(r"^\| ([A-D]\d+) \|", (DOCS / "coverage.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(MISSION)


def test_every_problem_of_this_version_has_a_rule() -> None:
    assert {rule.problem for rule in rules()} == set(PROBLEMS)


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []


def test_targets_and_commands_that_the_documents_name_exist() -> None:
    known = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = subprocess.run(
        [sys.executable, "-m", "isometry", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"`make (\w+)", text):
            assert f"make {target}" in known, f"{page.name}: make {target}"
        for command in re.findall(r"`isometry (\w+)", text):
            assert re.search(rf"\b{command}\b", commands), f"{page.name}: isometry {command}"
