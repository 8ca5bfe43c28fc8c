"""Every number that a rule judges by, with its unit and where it comes from.

A limit is either what theory says or what was measured on pairs of healthy and sick networks that differ in one thing;
the source says which.
"""

from dataclasses import dataclass
from math import floor

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


def _precision(right: int, *, of: int) -> Limit:
    source = f"benchmarks/recall.py, development twins: {right} of {of} grave findings right, Jeffreys' prior"
    return Limit(floor(100 * (right + 0.5) / (of + 1)) / 100, "share of findings", source)


PRECISION = {
    "A101": _precision(50, of=50),
    "A201": _precision(30, of=31),
    "D101": _precision(38, of=40),
    "D102": _precision(6, of=6),
    "D103": _precision(9, of=9),
    "G101": _precision(91, of=91),
    "G102": _precision(16, of=16),
    "G201": _precision(43, of=43),
    "G202": _precision(2, of=3),
    "G301": _precision(70, of=70),
    "L101": _precision(230, of=230),
    "L102": _precision(28, of=28),
    "L201": _precision(5, of=5),
    "N101": _precision(51, of=51),
    "N201": _precision(30, of=30),
    "N202": _precision(4, of=4),
    "N203": _precision(12, of=12),
    "U101": _precision(61, of=63),
    "U102": _precision(32, of=32),
    "W101": _precision(41, of=41),
    "W102": _precision(10, of=10),
    "W103": Limit(0.95, "share of findings", "2026-11, first losses of the twins: 10 of 10, as above"),
}
"""Confidence of each rule: how often it was right where it said that something slows, harms or stops."""

NEARLY_AS_SEVERE = Limit(1, "grades", "a cause is told before its consequence if it is at most one grade milder")

FEWEST_PLACES = Limit(3, "places", "a slope along depth needs two steps; two places have only a ratio")
TWINS = "calibrated 2026-11 between the healthy and the sick twins"
LEARNED = Limit(
    0.5, "share of the loss", "half of what guessing loses, or of the first loss; it only lowers severities"
)

FALL_SLOWS = Limit(2.0, "decades", f"{TWINS}: later steps, at most 1.0 and at least 2.3")
FALL_HARMS = Limit(4.0, "decades", "a relative update of 1e-3 at the output is 1e-7 at the input: float32 rounding")
LITTLE = Limit(1.0, "decades", "a layer that receives less than a tenth is counted among those concerned")
"""How far below the output end a layer's ‖δ‖ lies before it is named."""
EVEN = Limit(0.5, "share of the median", "words only: per-layer losses this close together are told as one number")
LEADING = Limit(0.3, "share of the total", "words only: a cause is named in the summary from this share on")
FALL_DELAYS = Limit(3.0, "decades", f"{TWINS}: at most 2.5 and at least 3.5 where it lasted and then went")
DELAY = Limit(0.1, "share of all steps", f"{TWINS}: as above; a deep fall that went sooner cost nothing")
FALL_STOPS = Limit(6.0, "decades", f"{TWINS}: none so deep came below the loss of guessing")
READABLE = Limit(9.0, "decades", "words only: beyond it a share is written as a power of ten")
SMALLEST_PERCENT = Limit(1e-3, "", "words only: below it percent would show nothing but zeros")
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
CLIMB_SLOWS = Limit(1.8, "decades", f"{TWINS}: later steps, at most 1.7 and at least 1.9")
CLIMB_HARMS = Limit(4.0, "decades", "a relative update of 1e-3 at the output is 10 at the input")

FEWEST_DRAWN = Limit(8, "networks", "fewer tell too little of the tails of Student's law")
CHANCE = Limit(0.01, "probability", "that any layer of a healthy network is told to depart from its law of weights")

FEWEST_TIMES = Limit(8, "time steps", "shorter sequences have no long past to lose")
TIME_FALL_SLOWS = Limit(3.0, "decades", "the past counts a thousandth; networks that learn nevertheless have a note")
TIME_FALL_HARMS = Limit(6.0, "decades", "the past is float32 rounding beside the last step")
TIME_CLIMB_SLOWS = Limit(2.0, "decades", "adding up over 100 time steps gives at most 2")
TIME_CLIMB_HARMS = Limit(4.0, "decades", "as along depth")

SEEN = Limit(128, "samples", "rule of three: never active in 128 samples bounds the rate of activity by 2.3 % (95 %)")
FEWEST_SAMPLES = Limit(
    16, "samples", "units of one layer read the same samples, so fewer are hardly a look at the data"
)
DEAD_NOTE = Limit(0.25, "share of units", f"{TWINS}: most healthy rectifier layers stay below")
DEAD_SLOWS = Limit(0.5, "share of units", "half the width is gone; loud only where the loss does not fall")
DEAD_HARMS = Limit(0.9, "share of units", f"{TWINS}: healthy ones at most 0.75")

SATURATED_NOTE = Limit(0.5, "share of elements", f"{TWINS}: first steps, at most 0.33 and at least 0.84")
SATURATED_HARMS = Limit(0.8, "share of elements", f"{TWINS}: first steps, at most 0.33 and at least 0.84")

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

OVERSIZED = Limit(
    3.0, "times the critical σ_w", "2026-11, small transformers: 2 costs nothing, 3 a fifth of the score, 10 all of it"
)
LOUD = Limit(
    30.0, "times guessing", "2026-11: healthy twins begin at 7.5 at most; from 12 on a loud head costs 2 % or more"
)
DEAFENING = Limit(300.0, "times guessing", "2026-11: loud heads cost a tenth under Adam, all under SGD at rates of use")
DRIFT_SLOWS = Limit(2.0, "decades", "as the fall of δ")
DRIFT_HARMS = Limit(4.0, "decades", "as the fall of δ")
BLAMED = Limit(0.5, "share of the drift", "the draw is the leading cause if it explains more than half")
SAME = Limit(1e-6, "std / rms", "float32 rounding of equal numbers")


# Loss, rates, inputs, numbers. "Curves" are those of benchmarks/loss_curves.py; their truth is the sweep itself.

CURVES = "calibrated 2026-11 on 12 families of training curves, checked on 11 others"

OVERFLOW_ROOM = Limit(4.0, "decades", "products of two such numbers already leave the format")
OVERFLOW_GROWTH = Limit(6.0, "decades", "no healthy signal grows a million times between two recorded steps")
GREATEST = {
    "float16": Limit(65504.0, "", "IEEE 754 binary16"),
    "float32": Limit(3.4028235e38, "", "IEEE 754 binary32"),
    "bfloat16": Limit(3.3895314e38, "", "largest finite bfloat16"),
    "float64": Limit(1.7976931e308, "", "IEEE 754 binary64"),
}

SMALLEST_FLOAT16 = Limit(
    2.0**-24, "", "IEEE 754 binary16: the smallest subnormal number; less than half of it becomes 0"
)
UNDERFLOW = Limit(
    2.0, "smallest numbers of float16", "of normal numbers of this rms 20 % round to 0, and the rest to one digit"
)
MOSTLY = Limit(0.5, "share of recorded steps", "more often than not")
KEPT_STILL = Limit(0.85, "share of weights with a gradient", f"{TWINS}: at most 0.83, and at least 0.86")
LEFT_UNDONE = Limit(0.2, "share of guessing", "2026-11, bfloat16: 0.36 where it cost a fifth of the score, else 0.04")
ADDED_UP = Limit(500, "steps", "before that, steps of half a unit in the last place of bfloat16 do not add up to much")

ABOVE_NOISE = Limit(3.0, "standard deviations", "three-sigma rule")
BEGAN_TRAINED = Limit(0.5, "share of guessing", "untrained networks start at or above guessing")
LEAST_PROPORTION = Limit(1e-6, "times guessing", "no real task starts a million times better: the loss was rescaled")
GREATEST_PROPORTION = Limit(1e2, "times guessing", "draws that start a hundred times worse are rescaled losses")
ORDINARY = Limit(0.25, "share of 1/√fan-in", "the default draw of linear layers has 0.58 of it")

LONG_ENOUGH = Limit(100, "steps", "shorter runs end before a healthy rate has done its work")
HARDLY_MOVED = Limit(0.3, "sizes of the layer", CURVES)
SLOW_PACE = Limit(1e-3, "update ratio", "folk rule for a healthy step (CS231n); and " + CURVES)
HARDLY_FALLEN = Limit(0.3, "share of the loss", CURVES)
NOTHING_GAINED = Limit(0.02, "share of the loss", CURVES)
CERTAIN = Limit(3.0, "standard deviations", "Mann-Kendall score of 20 block medians, one in 700 by chance")
WARM_UP = Limit(1.05, "end over middle", "a rate that still grows has not been tried yet")
STARVED_PULL = Limit(-2.0, "decades", f"{TWINS}, 2026-11: rates too low −1.2 and above, vanishing δ −1.4 to −7")
STARVED = Limit(2.0, "decades", "where δ falls that far the rate is not what holds the layers back")

OVERSHOOT = Limit(0.15, "update ratio", CURVES)
LEAP = Limit(1.0, "update ratio", "one step as large as the weights forgets what they were")
IN_A_ROW = Limit(8, "recorded steps", "RMSprop starts with steps ten times its later ones; and " + CURVES)
FEW_IN_A_ROW = Limit(3, "recorded steps", "where little was recorded; the median of three forgives one outlier")
PART_IN_A_ROW = Limit(0.25, "share of recorded steps", "short records have fewer in a row")
TOO_LITTLE_FALLEN = Limit(0.6, "share of the loss", CURVES)
STILL_FALLING = Limit(0.1, "share of the end", "a run that is still on its way is not judged by its end")
REBOUND_FROM = Limit(0.75, "share of the start", CURVES)
REBOUND_TO = Limit(0.9, "share of the start", CURVES)
REBOUND_PACE = Limit(0.03, "update ratio", CURVES)
BLOWN_UP = Limit(10.0, "times the start", CURVES)

LITTLE_FALLEN = Limit(0.02, "share of the loss", CURVES)
NOISY_FALLEN = Limit(0.1, "share of the loss", CURVES)
ROUGH = Limit(0.1, "share of the loss", f"{TWINS}: medians of ten values are off by more than the fall looked for")
SAME_ANSWER = Limit(
    0.01, "share of the variance", f"explains no more than that of the targets; {TWINS}: at most 0.005, at least 0.05"
)
ANSWERS = Limit(8, "answers", "the variance of eight numbers is known to a factor of two")
LATE_LOOK = Limit(0.2, "share of all steps", "an earlier look says nothing of what was learned")
NO_TREND = Limit(1.65, "standard deviations", "one-sided 5 % of a Mann-Kendall score")
NEGATED = Limit(0.3, "share of guessing", "how near to minus guessing a loss with the wrong sign begins")
NEAR_GUESSING = Limit(0.97, "share of guessing", CURVES)
AT_GUESSING = Limit(0.05, "share of guessing", "words only: so close the loss is told as that of guessing")
MEDIAN_ERROR = Limit(1.2533, "standard errors", "√(π/2): error of a median over that of a mean, normal noise")

SPIKE_WINDOW = Limit(50, "steps", CURVES)
SPIKE_SCORE = Limit(10.0, "standard deviations", CURVES)
SPIKE_RECORD = Limit(3.0, "times the largest rise before", CURVES)
EARLY_PAST = Limit(3, "steps", "fewer have no range; the very first steps tell what the rate is like")
EARLY_RECORD = Limit(10.0, "times the range before", "2026-11, bad batches in 12 small trainings: at least 30 times")
EARLY_ECHO = Limit(2, "steps", "as in all of these trainings whose weights were thrown off")
EARLY_LIKE = Limit(0.5, "share of the rise", "bad batches that come again are about as bad")
EARLY_NEAR = Limit(0.1, "share of the rise", "tails as heavy as Student's with two degrees have 25 of these to one")
SPIKE_MEMORY = Limit(1000, "steps", "so long a past holds the tail of hard samples, one in a hundred of them")
SPIKE_START = Limit(10, "steps", "the median of the first ten steps stands for the untrained network")
SPIKE_PART = Limit(0.5, "share of the way back", CURVES)
SPIKE_FACTOR = Limit(2.0, "times the level before", CURVES)
SPIKE_COST = Limit(0.02, "share of all steps", "what a run does not miss: two steps of a hundred")
SPIKE_LEFT = Limit(0.1, "share of the way back", "a tenth of what had been learned is gone at the end")
SPIKE_RESTART = Limit(20, "steps", "a restart needs a few steps to show, and rates are recorded only now and then")
RAISED = Limit(1.5, "times the rate before", "schedules that fall, or creep up, stay below")
ONE_BATCH = Limit(4, "steps", "one batch, or two close together, and the echo in momentum")
UNTOLD = Limit(1e6, "", "words only: larger proportions are all the same")

LARGE_PART = Limit(0.25, "share of layers", "words of intent: one head of many is often idle on purpose")
STUCK = Limit(0.3, "share of the loss", "as HARDLY_FALLEN: whatever is left out is missed")
UNIFORM = Limit(1.8, "greatest weight over rms", "√3 for a uniform draw, 2.9 and more for 64 or more normal numbers")
FEWEST_RECORDS = Limit(5, "recorded steps", "fewer may all lie in the first steps, where zero can be a design")

INPUT_LARGE = Limit(30.0, "rms", "benchmarks/input_scale.py, 2026-11: plain SGD breaks between 30 and 100, Adam later")
INPUT_LOUD = Limit(10.0, "rms", "benchmarks/input_scale.py, 2026-11: harmless at gentle rates, fatal at bold ones")
INPUT_QUIET = Limit(0.1, "rms", "benchmarks/input_scale.py, 2026-11: harmless under Adam, slow under SGD")
INPUT_HUGE = Limit(300.0, "rms", "benchmarks/input_scale.py, 2026-11")
INPUT_SMALL = Limit(0.03, "rms", "benchmarks/input_scale.py, 2026-11: SGD stands still, Adam loses a tenth")
INPUT_TINY = Limit(0.003, "rms", "benchmarks/input_scale.py, 2026-11: Adam loses more than a third")
INPUT_SHIFTED = Limit(10.0, "standard deviations", "benchmarks/input_scale.py, 2026-11")
INPUT_SHIFT_COUNTS = Limit(3.0, "rms", "a mean of ordinary size does no harm however small the spread about it")
OUT_OF_REACH = Limit(0.1, "share of what guessing loses", "a tenth of the task is left undone, whatever is trained")
TARGET_LARGE = Limit(30.0, "rms", "benchmarks/input_scale.py, 2026-11")
TARGET_HUGE = Limit(1000.0, "rms", "benchmarks/input_scale.py, 2026-11")
TARGET_SMALL = Limit(0.01, "rms", "benchmarks/input_scale.py, 2026-11")
TARGET_SHIFTED = Limit(10.0, "standard deviations", "benchmarks/input_scale.py, 2026-11")
TARGET_SHIFT_COUNTS = Limit(3.0, "rms", "a mean of ordinary size does no harm however small the spread about it")


# One layer against the others of its kind.

BLAMED_AT_MOST = Limit(3, "layers", "words only: so many layers unlike their neighbours stand in one finding")
FALSE_BLAME = Limit(0.05, "share of healthy networks", "chance that any part of any layer of one is called out of line")
BLAME_MATTERS = Limit(0.02, "decades", "5 %: less is lost in the noise of a layer of 500 units")
FEWEST_ALIKE = Limit(5, "layers", "of four or fewer, one odd one does not leave a majority that agrees")
FEW_ALIKE = Limit(3.0, "values", "Student: at p = 1e-4 his quantiles are about 1 + 3 / n times the normal one")
CHANGE_POINT = Limit(3.0, "times ln(places)", "Yao 1988 asks for more than 2 per cut; BIC of a mean and a place")
FORETOLD = Limit(0.25, "share of the profile", "what theory leaves unexplained; more, and a change is not foretold")
FORK = Limit(1e-3, "decades", "float32 rounding of one and the same gradient, measured at two places")
HELPS = Limit(0.4, "share of the profile", "custom: a change that is foretold to leave more is not called a help")
