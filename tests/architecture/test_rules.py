"""What every rule owes: a page, a test of its name, a code of its own, and no number that judges inside it."""

import ast
import re
from pathlib import Path

import pytest

import isometry.diagnosis.rules
from isometry.diagnosis import limits
from isometry.diagnosis.rule import rules

ROOT = Path(__file__).parents[2]
FOLDER = Path(isometry.diagnosis.rules.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
ALLOWED = {0, 1, -1}
CODES = {
    "G101": "vanishing_gradient",
    "G102": "vanishing_gradient",
    "G201": "exploding_gradient",
    "G202": "exploding_gradient",
    "G301": "no_gradient",
    "A101": "dead_units",
    "A201": "saturated_activation",
    "W101": "poor_initialization",
    "W102": "poor_initialization",
    "W103": "poor_initialization",
    "U101": "learning_rate_too_high",
    "U102": "learning_rate_too_low",
    "N101": "non_finite",
    "N201": "precision_underflow",
    "N202": "precision_underflow",
    "N203": "precision_overflow",
    "D101": "unscaled_input",
    "D102": "unscaled_input",
    "D103": "unscaled_input",
    "L101": "loss_not_decreasing",
    "L102": "loss_not_decreasing",
    "L201": "loss_spike",
}
"""Codes once used keep their meaning."""


def numbers_compared(tree: ast.AST) -> list[tuple[int, float]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for side in [node.left, *node.comparators]:
                found += [
                    (leaf.lineno, leaf.value)
                    for leaf in ast.walk(side)
                    if isinstance(leaf, ast.Constant) and type(leaf.value) in (int, float)
                ]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_number_judges_inside_a_rule(path):
    bare = [(line, number) for line, number in numbers_compared(ast.parse(path.read_text())) if number not in ALLOWED]
    assert not bare, f"{path.name}: (line, number) {bare}; give them a name, a unit and a source in limits.py"


def test_the_check_itself_sees_a_bare_number():
    assert {number for _, number in numbers_compared(ast.parse("if x.max() > 3 * y + 0.5: pass"))} == {3, 0.5}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_rule_knows_another(path):
    imported = [node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if name.startswith("isometry.diagnosis.rules")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_rule_has_a_test_file_of_its_name(path):
    assert (ROOT / "tests" / "diagnosis" / "rules" / f"test_{path.stem}.py").exists()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.code)
def test_every_rule_has_a_page_with_its_reasons_and_sources(rule):
    first = rule.doc.splitlines()[0]
    assert first.endswith((".", ":")) and len(first) <= 120
    assert "How it is told apart:" in rule.doc
    assert "Sources:" in rule.doc


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.code)
def test_codes_keep_their_meaning(rule):
    assert re.fullmatch(r"[GAWUNDL]\d{3}", rule.code)
    assert CODES[rule.code] == rule.problem


def test_the_walk_finds_every_file():
    modules = {rule.judge.__module__.rsplit(".", 1)[1] for rule in rules()}
    assert {path.stem for path in FILES} <= modules


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.code)
def test_confidence_is_a_share(rule):
    assert 0 < rule.confidence <= 1


def test_every_limit_has_a_unit_and_a_source():
    held = [value for value in vars(limits).values() if isinstance(value, limits.Limit | dict)]
    for value in held:
        for limit in value.values() if isinstance(value, dict) else [value]:
            if isinstance(limit, limits.Limit):
                assert limit.source and "to be calibrated" not in limit.source
