"""Twins: trainings, sick and healthy, that differ in one thing; the evidence on which the rules are judged.

`CASES` are for calibration and for the tests; `held_out.CASES` are for the final word and for nothing else.
"""

from . import chains, depth, faults, formats, graphs, noise, pixels, rates, units, zoo
from .case import Case, Ladder

__all__ = ["CASES", "LADDERS"]

SHELVES = (depth, units, rates, faults, graphs, noise, chains, pixels, formats)
FAMILIES = [family for shelf in SHELVES for family in shelf.FAMILIES]
ALONE = zoo.CASES + [case for shelf in (graphs, noise, chains, pixels, formats) for case in shelf.ZOO]
"""Healthy cases without a twin."""
CASES: list[Case] = [case for family in FAMILIES for case in family.cases()] + ALONE
LADDERS: list[Ladder] = [*depth.LADDERS, *units.LADDERS, *rates.LADDERS]
