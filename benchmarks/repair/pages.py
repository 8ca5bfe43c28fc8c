"""Puts a table into a page that other scripts have a part in."""

from collections.abc import Iterable
from pathlib import Path

__all__ = ["put"]


def put(page: Path, name: str, lines: Iterable[str]) -> None:
    """Replace what stands between the two comments of this name."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(before + "\n".join([begin, *lines, end]) + after, encoding="utf-8")
