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

FEWEST_PLACES = Limit(3, "places", "a slope along depth needs two steps; two places have only a ratio")
LEARNED = Limit(0.5, "share of the loss", "to be calibrated")

FALL_SLOWS = Limit(2.0, "decades", "to be calibrated")
FALL_HARMS = Limit(4.0, "decades", "to be calibrated")
LITTLE = Limit(1.0, "decades", "a layer that receives less than a tenth is counted among those concerned")
"""How far below the output end a layer's ‖δ‖ lies before it is named."""
EVEN = Limit(0.5, "share of the median", "words only: per-layer losses this close together are told as one number")
