"""The examples of the theory page and of its docstrings run as they are printed."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import isometry.theory

PAGE = Path(__file__).parents[2] / "docs" / "theory.md"
MODULES = [f"isometry.theory.{module.name}" for module in pkgutil.iter_modules(isometry.theory.__path__)]


def test_the_page_runs():
    done = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted > 10
    assert done.failed == 0


def test_the_page_names_what_there_is():
    page = PAGE.read_text(encoding="utf-8")
    values = {"ACTIVATIONS", *(name for name in isometry.theory.__all__ if name[0].isupper())}
    missing = [name for name in isometry.theory.__all__ if name not in values and f"`{name}`" not in page]
    assert missing == []
    assert [name for name in isometry.theory.ACTIVATIONS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
