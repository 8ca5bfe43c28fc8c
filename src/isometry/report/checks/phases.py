"""The plane of σ_w² and σ_b², in which a line divides order from chaos, and where in it the network stands."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError, NotRecorded
from isometry.report.chart import Axis, Chart, Line, Note, Points, Table
from isometry.report.words import number

if TYPE_CHECKING:  # theory is loaded when it is first asked for
    from isometry.theory.explain import Explanation

__all__ = ["phase_diagram"]

Floats = NDArray[np.float64]

POINTS = 17
"""Of the critical line."""
LEAST = 0.3
"""Height of the picture at least: σ_b² of ordinary networks."""
AIR = 0.05
"""Share of the height beneath 0, for a network without biases."""
FAR = 8.0
"""Ratio of the largest σ_w² to the smallest from which on the axis is logarithmic."""
WORDS = {"ordered": "ordered: gradients vanish", "chaotic": "chaotic: gradients explode"}
LINE, NETWORK = 4, 2
"""Styles."""


def phase_diagram(explanation: "Explanation | None") -> Chart:
    """The critical line of the network's φ, the regions beside it, and the network.

    Raises:
        NotRecorded: theory says nothing of this network, or its φ has no such line.
    """
    if explanation is None:
        raise NotRecorded("theory has nothing to say of most of its layers")
    if getattr(explanation, "norm", ""):
        raise NotRecorded("norm layers set the size of z, so that σ_w and σ_b do not decide")
    here = explanation.sigma_w**2, explanation.sigma_b**2
    top = max(LEAST, 1.6 * here[1])
    x, y = _critical_line(explanation.activation, top)
    ends = min(here[0], float(x.min())), max(here[0], float(x.max()))
    log = ends[1] > FAR * ends[0]
    low, high = (ends[0] / 3, ends[1] * 60) if log else (ends[0] * 0.75, ends[1] * 1.2)
    across = Axis("σ_w², variance of the weights times fan-in", scale="log" if log else "linear", low=low, high=high)
    return Chart(
        title=_title(explanation),
        reading="On the line the gradient keeps its size from layer to layer (χ₁ = 1), in wide and deep networks.",
        x=across,
        y=Axis("σ_b², variance of biases", low=-AIR * top, high=top),
        shapes=(
            Line("", x, y, style=LINE),
            Note(float(x[-3]), float(y[-3]), "critical: χ₁ = 1", side="left"),
            *_regions(explanation, across, top),
            Points("this network", np.array(here[:1]), np.array(here[1:]), style=NETWORK),
        ),
        alt=f"Plane of σ_w² and σ_b² with the critical line of {explanation.activation}, from σ_w² = "
        f"{number(float(x[0]))} at σ_b² = {number(float(y[0]))} to {number(float(x[-1]))} at {number(float(y[-1]))}. "
        f"This network lies at {number(here[0])} and {number(here[1])}: {explanation.phase}.",
        table=Table(
            ("", "σ_w²", "σ_b²"),
            (
                ("this network", number(here[0]), number(here[1])),
                *(
                    (f"χ₁ = 1 ({k})", number(float(a)), number(float(b)))
                    for k, (a, b) in enumerate(zip(x, y, strict=True), 1)
                ),
            ),
        ),
        name="phase-diagram",
    )


def _critical_line(activation: str, top: float) -> tuple[Floats, Floats]:
    """σ_w² and σ_b² of points of the line, from below."""
    from isometry import theory

    found = []
    for sigma_b in np.linspace(0, math.sqrt(top), POINTS).tolist():
        try:
            point = theory.critical_point(activation, sigma_b=sigma_b)
        except (IsometryError, ArithmeticError):
            continue
        if sigma_b > 0 and math.isinf(point.q):
            raise NotRecorded(f"{activation} keeps its shape at every scale: σ_w alone decides, and σ_b does not")
        found.append((point.sigma_w**2, sigma_b**2))
    if len(found) < 2:
        raise NotRecorded(f"{activation} has no critical line")
    line = np.array(found)
    return line[:, 0], line[:, 1]


def _regions(explanation: "Explanation", across: Axis, top: float) -> Iterator[Note]:
    """The name of each phase, at the place that lies deepest in it."""
    grid = list(_grid(across, top))
    phases = [_phase(explanation.activation, x, y) for x, y, _ in grid]
    for name, words in WORDS.items():
        inside = [spot for spot, phase in zip(grid, phases, strict=True) if phase == name]
        outside = [spot for spot, phase in zip(grid, phases, strict=True) if phase != name]
        if inside and outside:
            best = max(inside, key=lambda spot: _clearance(spot, outside))
            yield Note(best[0], best[1], words)


Spot = tuple[float, float, tuple[float, float]]
"""σ_w², σ_b², and where that lies in the picture, as shares of width and height."""


def _grid(across: Axis, top: float) -> Iterator[Spot]:
    low, high = (float(across.placed(np.array(end))) for end in (across.low, across.high))
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        placed = low + share * (high - low)
        for height in (0.25, 0.5, 0.75):
            yield (10**placed if across.scale == "log" else placed), height * top, (share, height)


def _phase(activation: str, sigma_w_squared: float, sigma_b_squared: float) -> str:
    from isometry import theory

    try:
        return str(theory.phase(activation, math.sqrt(sigma_w_squared), math.sqrt(sigma_b_squared)))
    except (IsometryError, ArithmeticError):
        return ""


def _clearance(spot: Spot, others: Iterable[Spot]) -> float:
    return min(math.dist(spot[2], other[2]) for other in others)


def _title(explanation: "Explanation") -> str:
    where = {"ordered": "in the ordered phase", "chaotic": "in the chaotic phase"}.get(
        explanation.phase, "on the critical line"
    )
    return f"{explanation.activation} with σ_w² = {number(explanation.sigma_w**2)} lies {where}"
