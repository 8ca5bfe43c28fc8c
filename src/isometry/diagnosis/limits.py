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
LEADING = Limit(0.3, "share of the total", "words only: a cause is named in the summary from this share on")
FALL_STOPS = Limit(6.0, "decades", "to be calibrated")
READABLE = Limit(9.0, "decades", "words only: beyond it a share is written as a power of ten")
NOTHING = Limit(0.0, "", "exactly zero")
SMALLEST = {
    "float64": Limit(-323.3, "decades", "log10 of the smallest subnormal number"),
    "float32": Limit(-44.85, "decades", "log10 of the smallest subnormal number"),
    "bfloat16": Limit(-40.04, "decades", "log10 of the smallest subnormal number"),
    "float16": Limit(-7.22, "decades", "log10 of the smallest subnormal number"),
}
ROUNDING = Limit(
    1.0, "decades", "numbers this close to the smallest one are rounded to few digits, so slopes are vague"
)
WHOLLY = Limit(0.97, "share of the total", "words only: from here on one cause is told as all of it")
FLAT = Limit(0.30103, "decades a layer", "words only: saturated where z takes more than half of the slope at rest")
CLIMB_SLOWS = Limit(2.0, "decades", "to be calibrated")
CLIMB_HARMS = Limit(4.0, "decades", "to be calibrated")

FEWEST_TIMES = Limit(8, "time steps", "shorter sequences have no long past to lose")
TIME_FALL_SLOWS = Limit(3.0, "decades", "to be calibrated")
TIME_FALL_HARMS = Limit(6.0, "decades", "to be calibrated")
TIME_CLIMB_SLOWS = Limit(2.0, "decades", "adding up over 100 time steps gives at most 2")
TIME_CLIMB_HARMS = Limit(4.0, "decades", "to be calibrated")

SEEN = Limit(300, "samples", "rule of three: never active in 300 samples bounds the rate of activity by 1 % (95 %)")
DEAD_NOTE = Limit(0.25, "share of units", "to be calibrated")
DEAD_SLOWS = Limit(0.5, "share of units", "to be calibrated")
DEAD_HARMS = Limit(0.9, "share of units", "to be calibrated")

SATURATED_NOTE = Limit(0.5, "share of elements", "to be calibrated")
SATURATED_HARMS = Limit(0.8, "share of elements", "to be calibrated")

MEAN_FIELD = "mean field: the σ_w that keeps both signals, E φ′² = 1 / σ_w² at small or unit variance"
CRITICAL_WEIGHT = {
    "none": Limit(1.0, "σ_w", MEAN_FIELD),
    "tanh": Limit(1.0, "σ_w", MEAN_FIELD),
    "softsign": Limit(1.0, "σ_w", MEAN_FIELD),
    "hardtanh": Limit(1.0, "σ_w", MEAN_FIELD),
    "erf": Limit(0.886227, "σ_w", "√(π/4), the limit of small biases"),
    "sigmoid": Limit(1.0, "σ_w", "Glorot & Bengio 2010; no draw keeps both signals, because the slope is at most 1/4"),
    "hardsigmoid": Limit(1.0, "σ_w", "as sigmoid"),
    "softplus": Limit(1.0, "σ_w", "as sigmoid: its mean is far from zero"),
    "relu": Limit(1.414214, "σ_w", "He et al. 2015"),
    "relu6": Limit(1.414214, "σ_w", "He et al. 2015"),
    "leaky_relu": Limit(1.414143, "σ_w", "√(2 / (1 + 0.01²)), He et al. 2015"),
    "prelu": Limit(1.371989, "σ_w", "√(2 / (1 + 0.25²)), He et al. 2015"),
    "rrelu": Limit(1.371989, "σ_w", "as prelu, mean slope 0.23"),
    "elu": Limit(1.223429, "σ_w", MEAN_FIELD),
    "celu": Limit(1.223429, "σ_w", MEAN_FIELD),
    "selu": Limit(1.0, "σ_w", "Klambauer et al. 2017"),
    "gelu": Limit(1.408211, "σ_w", "critical point, σ_w² = 1.983058"),
    "gelu_tanh": Limit(1.408211, "σ_w", "critical point, σ_w² = 1.983058"),
    "silu": Limit(1.409966, "σ_w", "critical point, σ_w² = 1.988005"),
    "mish": Limit(1.418987, "σ_w", "critical point, σ_w² = 2.013524"),
    "hardswish": Limit(1.404742, "σ_w", "critical point, σ_w² = 1.973290"),
}
"""Scale of weights, as σ_w = rms W · √fan_in, that suits the nonlinearity in front of them."""

DRIFT_SLOWS = Limit(2.0, "decades", "to be calibrated")
DRIFT_HARMS = Limit(4.0, "decades", "to be calibrated")
BLAMED = Limit(0.5, "share of the drift", "the draw is the leading cause if it explains more than half")
SAME = Limit(1e-6, "std / rms", "float32 rounding of equal numbers")
