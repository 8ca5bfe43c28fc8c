"""How numbers, layers and steps are said: one spelling for the terminal, the pictures and the page."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from isometry.diagnosis.finding import Finding
from isometry.history.run import Run

__all__ = [
    "called",
    "clean",
    "cost_share",
    "counted",
    "decades",
    "folder",
    "layer_range",
    "measured",
    "notes_of",
    "number",
    "plural",
    "power",
    "problem",
    "run_line",
    "shortened",
    "times",
    "titled",
]


def problem(identifier: str) -> str:
    """``vanishing_gradient`` as a reader says it: ``vanishing gradient``."""
    return identifier.replace("_", " ").replace("non finite", "non-finite")


def titled(finding: Finding) -> str:
    """What a finding is called: its title, or else its problem."""
    return finding.title or problem(finding.problem)


def clean(text: str) -> str:
    """The text without anything that a terminal or a viewer would obey: control characters become ``�``."""
    return "".join("�" if unicodedata.category(sign) in ("Cc", "Cs", "Cf") else sign for sign in text)


def shortened(text: str, width: int) -> str:
    """At most ``width`` signs: the middle of a long name makes way for ``…``, since names differ at both ends."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def counted(value: float) -> str:
    """A whole number with its thousands set off: ``1,120``."""
    return f"{int(value):,}"


def called(name: str) -> str:
    """A layer's name as it stands in a sentence: ``fc1``; ``layer 3`` where the name is no word."""
    said = clean(name)
    return said if any(sign.isalpha() for sign in said) else f"layer {said}"


def plural(count: int, noun: str) -> str:
    """``1 layer``, ``1,120 layers``."""
    return f"{counted(count)} {noun}" if count == 1 else f"{counted(count)} {noun}s"


def number(value: float | None) -> str:
    """A measured number in at most four significant digits, with a real minus sign; ``–`` where there is none."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    value = float(f"{value:.6g}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}")
    size = abs(value)
    if value == 0:
        text = "0"
    elif size >= 1e6 or size < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    elif value == int(value):
        text = f"{int(value):,}"
    elif size >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}" if size < 100 else f"{value:.4g}"
    return text.replace("-", "−")


def measured(value: float) -> str:
    """A number out of a history, in which NaN stands for "not recorded": ``–`` there."""
    return "–" if math.isnan(value) else number(value)


def decades(value: float) -> str:
    """A signed count of decades: ``−6.6``; small ones in two digits after the point."""
    if not math.isfinite(value):
        return number(value)
    text = f"{value:+.1f}" if abs(value) >= 0.995 else f"{value:+.2f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def power(exponent: int) -> str:
    """A power of ten as it stands on an axis: ``1e-9``; plain between a thousandth and a thousand."""
    if -3 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return f"1e{exponent}"


_NAMED = {3: "thousand", 6: "million", 9: "billion", 12: "trillion"}


def times(exponent: float) -> str:
    """How much of something is left, by its decades: ``a millionth``, ``1/20``, ``300 times``."""
    whole = round(exponent)
    if abs(exponent - whole) < 0.02 and abs(whole) in _NAMED:
        return f"a {_NAMED[abs(whole)]}th" if whole < 0 else f"a {_NAMED[whole]} times"
    if abs(exponent) > 12:
        return f"1e{whole}" if whole < 0 else f"1e{whole} times"
    ratio = 10.0 ** abs(exponent)
    rounded = float(f"{ratio:.2g}")
    said = f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.2g}"
    return f"1/{said}" if exponent < 0 else f"{said} times"


def layer_range(layers: Sequence[str], order: Sequence[str], width: int = 60) -> str:
    """Which layers: one name, ``fc1 … fc10`` for neighbours, a few names and a count for scattered ones.

    Args:
        layers: the layers concerned, input first
        order: all layers of the run, input first
        width: signs that may be used
    """
    if not layers:
        return "the whole network"
    room = max(12, (width - 3) // 2)
    names = [shortened(clean(name), room) for name in layers]
    if len(names) == 1:
        return names[0]
    if len(names) > 2 and _neighbours(layers, order):
        return f"{names[0]} … {names[-1]}"
    said = names[0]
    for position, name in enumerate(names[1:], start=1):
        rest = len(names) - position
        tail = f" and {rest} more"
        if len(said) + len(name) + 2 + (len(tail) if rest > 1 else 0) > width:
            return said + tail
        said = f"{said}, {name}"
    return said


def _neighbours(layers: Sequence[str], order: Sequence[str]) -> bool:
    positions = {name: position for position, name in enumerate(order)}
    if any(name not in positions for name in layers):
        return False
    first, last = positions[layers[0]], positions[layers[-1]]
    return last - first + 1 == len(layers)


def folder(run: Run) -> str:
    """Where the run is kept, as a reader may type it."""
    if run.folder is None:
        return "a run without a folder"
    return clean(str(run.folder))


LOOKED_UNTIL = 0.8
"""A reader is told of the last recorded step where more than this part of the training came before it unseen."""


def notes_of(run: Run) -> tuple[str, ...]:
    """What is not in the run: records that are damaged, and what the watch could not see."""
    unseen = (str(event["words"]) for event in run.history.events("trouble") if "words" in event)
    return tuple(dict.fromkeys((*run.history.notes, *unseen)))


def run_line(run: Run) -> list[str]:
    """The facts of a run in the order of the first line: folder, steps, what watching cost, an odd ending."""
    summary = run.summary()
    facts = [folder(run), _steps(summary)]
    steps = run.history.steps
    if len(steps) and steps[-1] < LOOKED_UNTIL * (run.history.total_steps - 1):
        facts.append(f"last look at step {int(steps[-1]):,}")
    share = summary.get("cost_share")
    if isinstance(share, int | float) and math.isfinite(share):
        facts.append(f"watching cost {cost_share(share)} of step time")
    ending = summary.get("ending")
    if isinstance(ending, str) and ending and ending != "finished":
        facts.append(f"ended: {shortened(clean(ending), 60)}")
    return facts


def cost_share(share: float) -> str:
    """A share of time in per cent: ``0.7 %``."""
    per_cent = 100 * share
    return f"{per_cent:.2g} %" if per_cent < 10 else f"{per_cent:.0f} %"


def _steps(summary: Mapping[str, Any]) -> str:
    total, recorded = int(summary.get("steps") or 0), int(summary.get("recorded") or 0)
    return f"{plural(total, 'step')}, {counted(recorded)} recorded"
