"""How code to paste is set: comments and long lists of names in lines of a page's width."""

import json
import textwrap
from collections.abc import Sequence

__all__ = ["comment", "tuple_of"]

WIDTH = 100
"""Of a line of code."""
FRAME = 20
"""Of it, for what stands round a list of names."""


def comment(text: str) -> str:
    """The text in lines that begin with ``#``."""
    return "\n".join(textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False))


def tuple_of(names: Sequence[str]) -> str:
    """A tuple of names as code, on several lines where it is long."""
    shown = [json.dumps(name, ensure_ascii=False) for name in names]
    line = f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"
    if len(line) <= WIDTH - FRAME:
        return line
    rows = [""]
    for name in shown:
        if rows[-1] and len(rows[-1]) + len(name) > WIDTH - FRAME:
            rows.append("")
        rows[-1] += f"{name}, "
    return "(\n" + "".join(f"    {row.rstrip()}\n" for row in rows) + ")"
