"""What every classic owes: a test of its name, and a row of the coverage table for everything that it covers."""

import re
from pathlib import Path

import pytest

import isometry.classics.experiments
from isometry.classics.classic import classics

ROOT = Path(__file__).parents[2]
FOLDER = Path(isometry.classics.experiments.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
ROW = re.compile(r"^\| ([A-D]\d+) \|.*\|([^|]*)\|$", re.MULTILINE)
ROWS = dict(ROW.findall((ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_classic_has_a_test_of_its_name(path: Path) -> None:
    assert (ROOT / "tests" / "classics" / "experiments" / f"test_{path.stem}.py").is_file()


def test_what_a_classic_covers_and_what_shows_it_agree() -> None:
    said = {(name, part) for part, cell in ROWS.items() for name in re.findall(r"isometry classic ([a-z0-9-]+)", cell)}
    assert said == {(one.name, part) for one in classics() for part in one.covers}


def test_a_classic_is_explained() -> None:
    for one in classics():
        assert len(one.doc.split()) > 40, one.name
        assert one.title.endswith("?"), one.name
