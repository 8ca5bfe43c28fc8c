"""Phrases that several findings share: names of layers in a row, decades, steps."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause

__all__ = [
    "because",
    "called",
    "decades",
    "of_its_size",
    "opening",
    "per_layer",
    "sentence",
    "share",
    "span",
    "stretches",
    "times",
]


def decades(amount: float) -> str:
    """``0.61``, ``7.0``: two digits that mean something."""
    return f"{amount:.2f}" if abs(amount) < 1 else f"{amount:.1f}"


UNKNOWN = "not recorded apart"
"""Name of the cause that holds what a run did not record in parts."""


def share(amount: float) -> str:
    """``1/4,000,000`` for 6.6 decades, ``10^−45`` where that cannot be read any more."""
    if amount >= limits.READABLE.value:
        return f"10^−{amount:.0f}"
    digits = 10.0 ** max(int(amount) - 1, 0)
    return f"1/{round(10.0**amount / digits) * digits:,.0f}"


def of_its_size(amount: float) -> str:
    """``12 % of its size`` for 0.12; ``3e-09 of`` it where percent would show zeros alone, ``8 times its size``."""
    if amount > 1:
        return f"{amount:.2g} times its size"
    return (
        f"{amount:.2g} of its size" if amount < limits.SMALLEST_PERCENT.value else f"{100 * amount:.2g} % of its size"
    )


def times(amount: float) -> str:
    """``4,000,000 times`` for 6.6 decades, ``10^45 times`` where that cannot be read any more."""
    return share(amount).replace("1/", "").replace("^−", "^") + " times"


def called(name: str) -> str:
    """A layer's name as it stands in a sentence: ``fc1``; ``layer 3`` where the name is no word."""
    return name if any(sign.isalpha() for sign in name) else f"layer {name}"


def span(names: Sequence[str]) -> str:
    """``fc1``, ``fc1 and fc2``, ``fc1 … fc10``; ``layers 0 … 18`` where the names are no words."""
    if len(names) <= 1:
        return "".join(called(name) for name in names)
    wordless = "" if called(names[0]) == names[0] else "layers "
    return wordless + _row(names)


def _row(names: Sequence[str]) -> str:
    return f"{names[0]} and {names[1]}" if len(names) == 1 + 1 else f"{names[0]} … {names[-1]}"


def per_layer(names: Sequence[str], steps: NDArray[np.float64], verb: str) -> str:
    """``layers fc3 … fc8 each lose 0.60 decades``; where they differ much, what they lose together, and which most.

    Names that say themselves that they are layers', as ``layers.3`` does, are not told so once more.
    """
    kind = "" if re.match(r"layers?[^A-Za-z]", names[0]) else "layer " if len(names) == 1 else "layers "
    middle = float(np.median(steps))
    if len(names) == 1:
        return f"{kind}{names[0]} {verb}s {decades(float(steps[0]))} decades"
    if np.abs(steps - middle).max() <= limits.EVEN.value * abs(middle):
        return f"{kind}{_row(names)} each {verb} {decades(middle)} decades"
    most = int(np.argmax(steps))
    return (
        f"{kind}{_row(names)} {verb} {decades(float(steps.sum()))} decades together, "
        f"{decades(float(steps[most]))} of them at {names[most]}"
    )


def stretches(names: Sequence[str], steps: NDArray[np.float64], parts: Sequence[slice], verb: str) -> str:
    """``per_layer`` of each part, one after the other."""
    told = [per_layer(names[part], steps[part], verb) for part in parts]
    return " and ".join(told) if len(told) <= 1 + 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def sentence(*parts: str) -> str:
    """The parts that say something, joined by semicolons, with a capital letter in front if a word of ours is there."""
    text = "; ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] if text.split(" ", 1)[0].isalpha() else text


def opening(text: str) -> str:
    """The text with a capital letter where it begins with our own word; a layer's name is left as it is."""
    return text[:1].upper() + text[1:] if re.match(r"layers? [^A-Za-z ]", text) else text


SAID = {"between": "what lies between layers", "inside": "what happens inside layers"}
"""Names of causes as they stand in a sentence, where that is not as they are."""


def because(causes: Sequence[Cause], total: float, *, lost: bool) -> str:
    """``of the 7.0 lost in all, 6.6 are the quarter slope of sigmoid``; empty where no cause stands out.

    Where large causes work against one another shares would mislead; then both sides are told, and what is left.
    """
    sign = -1.0 if lost else 1.0
    large = [cause for cause in causes if abs(cause.decades or 0.0) >= limits.LEADING.value * total]
    verb = "lost" if lost else "gained"
    if not large or any(cause.name == UNKNOWN for cause in large):
        return ""
    if any((cause.decades or 0.0) * sign < 0 for cause in large):
        return f"{_balance(causes, large, lost=lost)}: {decades(total)} are {verb} in all"
    first = max(large, key=lambda cause: abs(cause.decades or 0.0))
    amount, name = abs(first.decades or 0.0), _said(first)
    if amount > limits.WHOLLY.value * total:
        return f"{decades(total)} are {verb} in all, by {name}"
    return f"of the {decades(total)} {verb} in all, {decades(amount)} are {name}"


def _said(cause: Cause) -> str:
    """What a cause is, without its decades: its sentence up to the first comma or semicolon outside of brackets."""
    text = cause.words.split(": ", 1)[1]
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter in ",;" and not depth:
            return text[:place]
    return text


def _balance(causes: Sequence[Cause], large: Sequence[Cause], *, lost: bool) -> str:
    """``16 are lost, by slope of sigmoid, and 14 won back, mostly by weight alignment``: what cancels, side by side."""
    sign = -1.0 if lost else 1.0
    first, second = ("are lost", "won back") if lost else ("are gained", "lost again")
    return f"{_side(causes, large, sign, first)}, and {_side(causes, large, -sign, second)}"


def _side(causes: Sequence[Cause], large: Sequence[Cause], sign: float, verb: str) -> str:
    """All that works in one direction, and the names of what is large there."""
    whole = sum(max(sign * (cause.decades or 0.0), 0.0) for cause in causes)
    chosen = [cause for cause in large if sign * (cause.decades or 0.0) > 0]
    if not chosen:
        return f"{decades(whole)} {verb}"
    chosen.sort(key=lambda cause: -abs(cause.decades or 0.0))
    told = sum(abs(cause.decades or 0.0) for cause in chosen)
    names = [SAID.get(cause.name, cause.name) for cause in chosen]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{decades(whole)} {verb}, {'' if told > limits.WHOLLY.value * whole else 'mostly '}by {listed}"
