"""Growth of signals and gradients along skip connections."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.theory.checks import require_count, require_deviation, require_variance

__all__ = [
    "NormalisedResidual",
    "fixup_scale",
    "level_branch_scale",
    "normalised_residual",
    "post_norm_gain",
    "residual_growth",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NormalisedResidual:
    """A stack x + f(norm(x)): its signal grows evenly, its gradient only like the root of the depth."""

    q: Floats
    """Mean square of the stream before each block and after the last. shape (blocks + 1,)"""
    gain: Floats
    """Factor of the mean of ‖δ‖² of each block, on the way back. shape (blocks,)"""

    @property
    def backward(self) -> float:
        """Decades that the norm of δ gains from the last block to the first."""
        return float(0.5 * np.sum(np.log10(self.gain)))


def residual_growth(blocks: int, *, scale: float = 1.0, branch: float = 1.0) -> float:
    """Factor of q, and of the mean of ‖δ‖², over blocks x + s f(x) without norms: (1 + s² v)^L.

    2^L for branches that keep the size of their input, at most e with s = 1/√L, 1 with s = 0 (ReZero, SkipInit).

    Args:
        blocks: L.
        scale: s, the factor before the branch.
        branch: v, the mean square of f(x) over that of x, for an f that scales with x.

    Sources: Yang & Schoenholz 2017; Hanin & Rolnick 2018; De & Smith 2020; Bachlechner et al. 2020.
    """
    s, v = require_deviation("scale", scale), require_variance("branch", branch)
    return float((1 + s * s * v) ** require_count("blocks", blocks))


def level_branch_scale(blocks: int) -> float:
    """1 / √L, with which L branches add no more than a factor of e to the mean square.

    Sources: Hanin & Rolnick 2018; Noci et al. 2022; Yang et al. 2024.
    """
    return 1 / math.sqrt(require_count("blocks", blocks))


def fixup_scale(blocks: int, layers: int) -> float:
    """L^(−1 / (2m − 2)), by which Fixup multiplies the weights of a branch of m layers, the last of which start at 0.

    Sources: Zhang et al. 2019.
    """
    branch = require_count("layers of a branch", layers, least=2)
    return float(require_count("blocks", blocks) ** (-1 / (2 * branch - 2)))


def normalised_residual(blocks: int, *, branch: float = 1.0, back: float = 1.0, q: float = 1.0) -> NormalisedResidual:
    """Blocks x + f(norm(x)), pre-norm transformers and ResNets: q_l = q_0 + l v, and back 1 + b² / q_l a block.

    With v = b² = q_0 the gains multiply to L + 1: ½ log10 (L + 1) decades, where the same net without skips would gain
    or lose in proportion to L. Late blocks are close to the identity.

    Args:
        blocks: L.
        branch: v, mean square of the branch's output for an input of unit size.
        back: b², factor of the mean of ‖δ‖² through the branch, norm left out.
        q: q_0, mean square of the stream before the first block.

    Sources: De & Smith 2020; Xiong et al. 2020.
    """
    count = require_count("blocks", blocks)
    stream = require_variance("q", q) + require_variance("branch", branch) * np.arange(count + 1)
    gain = 1 + require_variance("back", back) / stream[:-1]
    return NormalisedResidual(stream.astype(np.float64), gain.astype(np.float64))


def post_norm_gain(*, branch: float, back: float) -> float:
    """Factor of the mean of ‖δ‖² of one block norm(x + f(x)), post-norm: (1 + b²) / (1 + v).

    1 for a ReLU branch of any size. Attention gives back less than it puts out where tokens have become alike: then δ
    falls.

    Args:
        branch: v, mean square of the branch's output for an input of unit size.
        back: b², factor of the mean of ‖δ‖² through the branch.
    """
    return (1 + require_variance("back", back)) / (1 + require_variance("branch", branch))
