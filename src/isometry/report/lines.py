"""Lines of a given width, in which colours do not count as signs: what everything in a terminal is written with."""

import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence

from isometry.report.words import shortened

__all__ = ["INDENT", "LABEL", "Lines"]

INDENT = "  "
LABEL = 10
"""Signs kept for ``because``, ``so`` and their like."""

FEWEST = 24
"""Signs that the first column of a table keeps, if it has as many, as long as other columns can be spared."""

_STYLES = {
    "STOPS": "1;97;41",
    "HARMS": "1;30;43",
    "SLOWS": "1;30;46",
    "NOTE": "1;7",
    "healthy": "1;32",
    "strong": "1",
    "quiet": "2",
    "added": "32",
    "removed": "31",
}


_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Lines:
    """Lines of a given width; colours do not count as signs."""

    def __init__(self, width: int, colour: bool) -> None:
        self.width = width
        self.colour = colour
        self.lines: list[str] = []

    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")

    def styled(self, style: str, words: str) -> str:
        return f"\x1b[{_STYLES[style]}m{words}\x1b[0m" if self.colour else words

    def line(self, words: str) -> None:
        """One line as it is."""
        self.lines.append(words)

    def blank(self) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append("")

    def wrapped(self, lead: str, words: str, *, hanging: str, indent: str = "") -> None:
        """A paragraph behind a lead; further lines start with ``hanging``."""
        first = indent + (f"{lead}  " if lead else "")
        lines = self._wrap(words, " " * _length(first), hanging)
        lines[0] = first + lines[0][_length(first) :]
        self.lines += lines

    def labelled(self, label: str, words: str) -> None:
        """``because   words``, with further lines below the words."""
        margin = INDENT + " " * LABEL
        lines = self._wrap(words, margin, margin)
        lines[0] = INDENT + self.styled("quiet", label) + " " * (LABEL - len(label)) + lines[0][len(margin) :]
        self.lines += lines

    def titled(self, title: str, aside: str) -> None:
        """A title with an aside at the right edge, or below where there is no room."""
        gap = self.width - _length(title) - len(aside)
        if gap >= 2:
            self.lines.append(title + " " * gap + self.styled("quiet", aside))
            return
        self.lines.append(title)
        self.lines += [self.styled("quiet", line) for line in self._wrap(aside, INDENT, INDENT)]

    def facts(self, lead: str, facts: Iterable[str], *, joint: str = "  ·  ", breaks: bool = False) -> None:
        """Facts in one line; where they do not fit, one below the other or wrapped (``breaks``)."""
        start = f"{self.styled('strong', lead)}  " if lead else ""
        facts = list(facts)
        line = start + joint.join(facts)
        if _length(line) <= self.width:
            self.lines += [line] if line else []
            return
        hanging = " " * _length(start) if lead else INDENT if breaks else ""
        for position, fact in enumerate(facts):
            if breaks:
                self.lines += self._wrap(fact, "", hanging)
            else:
                self.lines.append((start if position == 0 else hanging) + fact)

    def columns(
        self, rows: Sequence[Sequence[str] | str], *, numeric: Collection[int] = (), spare: Iterable[int] = ()
    ) -> None:
        """Cells one below the other; the first column gives way where a row would be too wide.

        Args:
            rows: cells without colour, as many in each; a text among them has lines of its own, as far in as it begins.
            numeric: columns that stand to the right.
            spare: columns to leave out where that does not suffice, in this order.
        """
        cells = [row for row in rows if not isinstance(row, str)]
        widths = {place: max(map(len, column)) for place, column in enumerate(zip(*cells, strict=True))}
        for place in spare:
            if min(widths[0], FEWEST) + self._beside(widths) > self.width:
                del widths[place]
        widths[0] = max(1, min(widths[0], self.width - self._beside(widths)))
        for row in rows:
            if isinstance(row, str):
                indent = INDENT + row[: len(row) - len(row.lstrip())]
                self.lines += self._wrap(row.lstrip(), indent, indent)
                continue
            told = {place: shortened(row[place], width) for place, width in widths.items()}
            placed = [
                told[place].rjust(width) if place in numeric else told[place].ljust(width)
                for place, width in widths.items()
            ]
            self.lines.append((INDENT + "  ".join(placed)).rstrip())

    @staticmethod
    def _beside(widths: Mapping[int, int]) -> int:
        """Signs that a row takes beside its first cell."""
        return sum(widths.values()) - widths[0] + 2 * len(widths)

    def _wrap(self, words: str, first: str, further: str) -> list[str]:
        lines = textwrap.wrap(
            words,
            self.width,
            initial_indent=first,
            subsequent_indent=further,
            break_on_hyphens=False,
            break_long_words=True,
        )
        return lines or [first]


def _length(text: str) -> int:
    return len(_ESCAPE.sub("", text))
