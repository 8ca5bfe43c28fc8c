"""``isometry classic``."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from isometry.classics.classic import classics
from tests.cli.conftest import Ended

Call = Callable[..., Ended]


def test_classics_are_listed_with_a_line_each(command: Call) -> None:
    ended = command("classic")
    listed = json.loads(command("classic", "--json").out)
    assert ended.code == 0
    assert [one["name"] for one in listed] == [one.name for one in classics()]
    for one in listed:
        assert re.search(rf"^{one['name']} ", ended.out, re.MULTILINE)


def test_one_is_run_and_told(command: Call, tmp_path: Path) -> None:
    arguments = ("classic", "linear-depth", "--fast", "--seeds", "2")
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    assert "verdict   STANDS" in ended.out
    assert "a = 1.5" in ended.err
    page = Path("runs/classics/linear-depth/report.html")
    assert str(page) in ended.out
    assert (tmp_path / page).is_file()
    again = command(*arguments, "--json")
    assert json.loads(again.out)["name"] == "linear-depth"
    assert "kept from before" in again.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("classic", "nonsense"), "No classic is called 'nonsense'"),
        (("classic", "linear-depth", "--all"), "Choose one"),
        (("classic", "linear-depth", "--seeds", "1"), "--seeds"),
    ],
)
def test_misuse_is_told_in_one_message(command: Call, arguments: tuple[str, ...], words: str) -> None:
    ended = command(*arguments)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
