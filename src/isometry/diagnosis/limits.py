"""Every number that a rule judges by, with its unit and where it comes from.

A limit is either what theory says or what was measured on pairs of healthy and sick networks that differ in one thing;
the source says which.
"""

from dataclasses import dataclass

from isometry.diagnosis.finding import Evidence

__all__ = ["Limit"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that judges."""

    value: float
    unit: str
    source: str

    def evidence(self, quantity: str, measured: float, *reads: tuple[str, str]) -> Evidence:
        """A measured number held against this limit."""
        columns = tuple((str(signal), statistic) for signal, statistic in reads)
        return Evidence(quantity, float(measured), self.value, self.unit, columns, self.source)
