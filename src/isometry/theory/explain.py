"""Why the signals of a network behave as they do, by mean field of the layers that most of it is made of."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isometry.errors import IsometryError
from isometry.network.nonlinearity import FUNCTIONS
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.criticality import CriticalPoint, DepthScale, Phase, critical_point, depth_scale
from isometry.theory.depth import SignalProfile, signal_profile
from isometry.theory.explanation import Explanation, HiddenLayer
from isometry.theory.meanfield import chi, chi_q, fixed_point
from isometry.theory.normalisation import batch_norm_rate, layer_norm_rate
from isometry.theory.sentences import sentences

__all__ = ["Explanation", "HiddenLayer", "explain", "steady_critical_point"]

KINDS = frozenset({"linear", "conv"})
FEWEST = 2
"""Layers that make a stack."""
NEAR = 0.1
"""Decades of ‖δ‖ over all layers, up to which a network is called critical: weights were drawn, not computed."""
TRAINABLE = 6
"""Sources: Schoenholz et al. 2017, section 5: networks train to a depth of about 6 ξ_c."""
WILD = 100.0
"""χ above which φ turns so often that the slope of the correlation map is rounding: sine with σ_w > 14."""
UNKNOWN = math.nan


def explain(layers: Sequence[HiddenLayer]) -> Explanation | None:
    """What mean field says of the φ, with the norm layer beside it, that most hidden layers share.

    It speaks of stacks of dense or convolutional layers outside residual branches, of infinite width, before training.
    The root mean squares of their σ_w and σ_b stand for all of them.

    Returns:
        None where it has nothing to say: most layers stand in residual branches or beside norm layers of another kind,
        fewer than two are alike, or their σ are no numbers.

    Sources: Poole et al. 2016; Schoenholz et al. 2017; Yang et al. 2019 for batch norm.
    """
    alike = _largest_group(layers)
    if len(alike) < FEWEST:
        return None
    with np.errstate(all="ignore"):
        try:
            found = _normalised(alike) if alike[0].normalised or alike[0].after else _plain(alike)
        except (IsometryError, ArithmeticError):  # σ that are no numbers, or beyond what a float holds
            return None
        return None if math.isnan(found.chi) else replace(found, words=sentences(found))


def steady_critical_point(activation: ActivationLike, sigma_b: float) -> CriticalPoint | None:
    """The critical point, if there is one to which q comes from 1.

    None for GELU without biases: at σ_w = 2 χ is 1 for q → 0, but every other q grows without bound.
    """
    try:
        point = critical_point(activation, sigma_b=sigma_b)
        settled = fixed_point(activation, point.sigma_w, sigma_b)
    except (IsometryError, ArithmeticError):
        return None
    return point if math.isclose(settled, point.q, rel_tol=1e-6, abs_tol=1e-9) else None


def _largest_group(layers: Sequence[HiddenLayer]) -> list[HiddenLayer]:
    """The layers that share what most share; none where these are layers that mean field does not follow."""
    named = [one for one in layers if one.kind in KINDS and one.activation in FUNCTIONS]
    sizes = Counter(_family(one) for one in named)
    largest = max(sizes, key=lambda family: (sizes[family], family is not None and not family[1]), default=None)
    return [one for one in named if _family(one) == largest] if largest is not None else []


def _family(layer: HiddenLayer) -> tuple[str | None, str, bool] | None:
    beside_norm = layer.normalised or layer.after
    if layer.residual or (beside_norm and layer.norm not in {"batch", "layer"}):
        return None
    return (layer.activation, layer.norm, layer.after) if beside_norm else (layer.activation, "", False)


def _law(alike: Sequence[HiddenLayer]) -> tuple[Activation, float, float, int]:
    """φ, σ_w, σ_b and the number of layers."""
    phi = as_activation(alike[0].activation or "identity")
    return phi, _typical([one.sigma_w for one in alike]), _typical([one.sigma_b for one in alike]), len(alike)


def _typical(values: Sequence[float]) -> float:
    """Root mean square of those that are numbers."""
    known = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    return float(np.sqrt(np.mean(known**2))) if known.size else UNKNOWN


def _plain(alike: Sequence[HiddenLayer]) -> Explanation:
    phi, sigma_w, sigma_b, depth = _law(alike)
    profile = signal_profile(phi, sigma_w, sigma_b, depth + 1)
    q = _settled(phi, sigma_w, sigma_b, start=float(profile.q[0]))
    at = 1.0 if math.isnan(q) else q
    rate, error = chi(phi, sigma_w, sigma_b, at), chi_q(phi, sigma_w, sigma_b, at)
    phase = _phase(rate, depth)
    lasting = _correlation_scale(phi, sigma_w, sigma_b, rate) if 0 < q < math.inf else UNKNOWN
    critical = steady_critical_point(phi, sigma_b)
    return Explanation(
        activation=phi.name,
        norm="",
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        depth=depth,
        phase=phase,
        q=q if q < math.inf else UNKNOWN,
        chi=rate,
        chi_q=error,
        decades_per_layer=_decades(rate),
        decades=float(profile.backward[0]),
        drift=_drift(profile),
        critical_sigma_w=critical.sigma_w if critical else UNKNOWN,
        critical_q=critical.q if critical and not _is_homogeneous(phi) else UNKNOWN,
        depth_scales=DepthScale(_scale(error), lasting, _scale(rate)),
        trainable_depth=math.inf if phase == Phase.CRITICAL else TRAINABLE * lasting,
    )


def _normalised(alike: Sequence[HiddenLayer]) -> Explanation:
    phi, sigma_w, sigma_b, depth = _law(alike)
    like = alike[0]
    q = sigma_w**2 + sigma_b**2 if like.after else 1.0
    if like.after:
        rate = sigma_w**2 / q * layer_norm_rate(_stretched(phi, math.sqrt(q)), before=False)
    else:
        rate = batch_norm_rate(phi) if like.norm == "batch" else layer_norm_rate(phi)
    return Explanation(
        activation=phi.name,
        norm=f"{like.norm} norm {'after' if like.after else 'before'}",
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        depth=depth,
        phase=_phase(rate, depth),
        q=q,
        chi=rate,
        chi_q=0.0,  # whatever the size of z was, the norm makes it 1
        decades_per_layer=_decades(rate),
        decades=depth * _decades(rate),
        drift=0.0,
        critical_sigma_w=UNKNOWN,
        critical_q=UNKNOWN,
        depth_scales=DepthScale(0.0, UNKNOWN, _scale(rate)),
        trainable_depth=UNKNOWN,
    )


def _stretched(phi: Activation, factor: float) -> Activation:
    """φ(factor · x) as a function of x."""
    return Activation(
        phi.name,
        lambda x: phi.function(factor * x),
        lambda x: factor * phi.slope(factor * x),
        tuple(kink / factor for kink in phi.kinks),
    )


def _is_homogeneous(phi: Activation) -> bool:
    """φ(a z) = a φ(z) for a > 0, so that χ is the same for every q."""
    z = np.array([-3.0, -0.7, 0.2, 5.0])
    return bool(np.allclose(phi.function(7 * z), 7 * phi.function(z), rtol=1e-12, atol=0))


def _phase(rate: float, depth: int) -> Phase:
    if abs(depth * _decades(rate)) <= NEAR:
        return Phase.CRITICAL
    return Phase.ORDERED if rate < 1 else Phase.CHAOTIC


def _decades(rate: float) -> float:
    return 0.5 * math.log10(rate) if rate > 0 else -math.inf


def _drift(profile: SignalProfile) -> float:
    """Product of d ln q of the next layer / d ln q: χ_q in all layers, where q has settled."""
    return float(np.abs(np.prod(profile.chi_q[:-1] * profile.q[:-1] / profile.q[1:])))


def _settled(phi: Activation, sigma_w: float, sigma_b: float, *, start: float) -> float:
    """Where q comes to from the first layer's; NaN for homogeneous φ without biases, to which every q is alike."""
    if not _is_homogeneous(phi):
        return fixed_point(phi, sigma_w, sigma_b, start=start or 1.0)
    if sigma_b == 0:
        return UNKNOWN
    rate = chi(phi, sigma_w, sigma_b, 1.0)
    return sigma_b**2 / (1 - rate) if rate < 1 else math.inf


def _correlation_scale(phi: Activation, sigma_w: float, sigma_b: float, rate: float) -> float:
    """ξ_c: in the ordered phase c* = 1, where the slope of the correlation map is χ."""
    if rate <= 1:
        return _scale(rate)
    return depth_scale(phi, sigma_w, sigma_b).correlation if rate < WILD else UNKNOWN


def _scale(rate: float) -> float:
    if rate in {0, math.inf}:
        return 0.0
    return 1 / abs(math.log(abs(rate))) if abs(rate) != 1 else math.inf
