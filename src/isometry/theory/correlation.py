"""How a wide random network changes the likeness of two inputs."""

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import ActivationLike
from isometry.theory.meanfield import Law, Map, elementwise, law_of, place_of

__all__ = ["LEVEL", "correlation_fixed_point", "correlation_map", "correlation_slope"]

LEVEL = 1e-9
"""A rate that differs from 1 by this is 1, and a correlation this little above 1 is one that was rounded."""


def correlation_map(
    activation: ActivationLike, sigma_w: float, sigma_b: float, *, q: float | None = None, keep: float = 1.0
) -> Map:
    """How the correlation of two inputs goes from layer to layer: C(c) = (σ_w² E φ(u) φ(v) + σ_b²) / V(q).

    u and v have variance q and correlation c. q is the fixed point unless it is given, so that V(q) = q; for fixed
    points 0 and inf C is the limit. With dropout C(1) < 1: what is dropped differs between the two.

    Returns:
        C, for a number or an array of c.

    Raises:
        IsometryError: from the function, for a c outside [−1, 1].

    Sources: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 4.
    """
    law = law_of(activation, sigma_w, sigma_b, keep)
    at, scale = _scale(law, q)
    if scale == 0:
        raise IsometryError("sigma_w = 0 and sigma_b = 0: z is 0 for every input, and has no correlation.")

    def next_c(c: float) -> float:
        if not abs(c) <= 1 + LEVEL:
            raise IsometryError(f"c = {c}: a correlation from −1 to 1 is needed.")
        return (law.sigma_w**2 * moments.product_mean(law.phi, at, min(max(c, -1.0), 1.0)) + law.sigma_b**2) / scale

    return elementwise(next_c)


def correlation_slope(
    activation: ActivationLike, sigma_w: float, sigma_b: float, *, q: float | None = None, keep: float = 1.0
) -> Map:
    """C′(c), the slope of ``correlation_map``: σ_w² E φ′(u) φ′(v) at a fixed point.

    Sources: Schoenholz et al. 2017.
    """
    law = law_of(activation, sigma_w, sigma_b, keep)
    at, scale = _scale(law, q)
    return elementwise(lambda c: law.sigma_w**2 * at / scale * moments.slope_product(law.phi, at, c))


def _scale(law: Law, q: float | None) -> tuple[float, float]:
    """The q to take means at, which stands for the limits too, and V(q) there."""
    at = min(max(place_of(law, q), moments.VANISHING), moments.FAR**2)
    return at, law.next_q(at)


def correlation_fixed_point(activation: ActivationLike, sigma_w: float, sigma_b: float, *, keep: float = 1.0) -> float:
    """c*, the correlation that any two inputs end with: 1 in the ordered phase, below 1 in the chaotic one.

    C is convex on [0, 1] (its Hermite coefficients are squares). So where C′(1) ≤ 1 and nothing is dropped c* = 1; else
    Newton's method from c = 0 comes to c* from below.
    """
    maps = (
        correlation_map(activation, sigma_w, sigma_b, keep=keep),
        correlation_slope(activation, sigma_w, sigma_b, keep=keep),
    )
    if keep == 1 and maps[1](1.0) <= 1 + LEVEL:
        return 1.0
    c = 0.0
    for _ in range(100):
        ahead = maps[0](c) - c
        if ahead <= 1e-15:
            break
        c = min(c + ahead / (1 - maps[1](c)), 1.0)
    return c
