"""Twins: trainings, sick and healthy, that differ in one thing; the evidence on which the rules are judged.

`CASES` are for calibration and for the tests; `held_out.CASES` are for the final word and for nothing else.
"""

from . import depth, faults, graphs, rates, units, zoo
from .case import Case, Ladder

__all__ = ["CASES", "LADDERS"]

FAMILIES = [*depth.FAMILIES, *units.FAMILIES, *rates.FAMILIES, *faults.FAMILIES, *graphs.FAMILIES]
CASES: list[Case] = [case for family in FAMILIES for case in family.cases()] + zoo.CASES + graphs.ZOO
LADDERS: list[Ladder] = [*depth.LADDERS, *units.LADDERS, *rates.LADDERS]
