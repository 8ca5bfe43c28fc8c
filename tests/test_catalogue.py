"""Shelves are found by walking a folder and by entry points."""

import sys
from importlib.metadata import EntryPoint

import pytest

from isometry import catalogue
from isometry.catalogue import collect
from isometry.diagnosis.rule import Rule
from isometry.errors import IsometryError

GROUP = "isometry.rules"


@pytest.fixture
def offered(monkeypatch):
    def offer(*values: str) -> None:
        points = [EntryPoint(name=f"p{i}", value=value, group=GROUP) for i, value in enumerate(values)]
        monkeypatch.setattr(catalogue, "entry_points", lambda group: points)

    return offer


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "shelf_of_numbers"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "b.py").write_text("late = 3 + 0j\n")
    (folder / "a.py").write_text("first = 1 + 0j\nsecond = 2 + 0j\nother = 'x'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "shelf_of_numbers"
    for name in [name for name in sys.modules if name.startswith("shelf_of_numbers")]:
        del sys.modules[name]


def test_objects_of_one_kind_are_found_by_module_name_and_order(package):
    assert collect(complex, package=package, group=GROUP) == (1, 2, 3)


def test_entry_points_give_objects_or_modules(package, offered):
    offered(f"{package}.b:late", f"{package}.a")
    assert collect(complex, package=package, group=GROUP) == (1, 2, 3)
    offered("isometry.diagnosis.rules.vanishing_gradient")
    assert [rule.code for rule in collect(Rule, package=package, group=GROUP)] == ["G101"]


def test_a_broken_entry_point_is_told_and_left_out(package, offered):
    offered("no_such_module_anywhere")
    with pytest.warns(RuntimeWarning, match="no_such_module_anywhere"):
        assert collect(complex, package=package, group=GROUP) == (1, 2, 3)


def test_an_entry_point_of_another_kind_is_refused(package, offered):
    offered(f"{package}.a:other")
    with pytest.raises(IsometryError, match="gave a str"):
        collect(complex, package=package, group=GROUP)
