"""What one forward and backward pass before training showed, beside the same of networks drawn anew."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run

__all__ = ["Drawn", "Inspection", "JacobianFacts", "Spectrum"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Sizes of the signals in networks of one architecture whose weights were drawn anew. shape (nets, layers) each"""

    forward: Floats
    """log10 of rms z. NaN where it was not measured. [decades]"""
    backward: Floats
    """log10 of ‖δ‖ over the whole batch; −inf where no gradient arrives, NaN where it was not measured. [decades]"""

    @property
    def nets(self) -> int:
        return len(self.forward)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """All singular values of ∂output/∂input, found row by row or column by column."""

    values: tuple[tuple[float, ...], ...]
    """Largest first; NaN where the Jacobian is not finite. shape (samples, min(inputs, outputs)); where the samples
    hang together, one row with those of the Jacobian of them all, shape (1, samples × min(inputs, outputs))."""
    samples: int
    """The first of the batch, so many."""
    together: bool
    """One sample's output depends on another's input, as under a norm over the batch."""
    rounding: float
    """Share of the largest of its row up to which a value may be nothing but rounding."""


@dataclass(frozen=True, slots=True)
class JacobianFacts:
    """How far the map from input to output is from an isometry.

    Out of all singular values where they were computed; else estimated with products J v and Jᵀ u alone.
    """

    inputs: int
    """Numbers that one sample enters with."""
    outputs: int
    probes: int
    """Random directions that were tried; 0 where all singular values were computed."""
    mean_square: float
    """Mean squared singular value, tr JᵀJ / min(inputs, outputs): those that are 0 by shape do not count."""
    variance: float
    """Variance of the squared singular values, in units of their squared mean."""
    largest: float
    """The largest singular value; from below where it was estimated."""
    reason: str = ""
    """Why nothing was measured; empty where something was."""
    spectrum: Spectrum | None = None
    """Of each of the first samples; None where computing it would take too long."""
    unlisted: str = ""
    """Why there is no spectrum although something was measured; empty otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """A network before its first step."""

    run: Run
    """One step: forward and backward signals, no update."""
    measured: Drawn
    """The one network that is there, on the samples that the others were given."""
    drawn: Drawn
    sigma_w: Floats
    """√fan_in × standard deviation of the weights. NaN for layers without a matrix. shape (layers,)"""
    sigma_b: Floats
    """Root mean square of the biases; 0 where there are none. shape (layers,)"""
    laws: tuple[str, ...]
    """What the weights were drawn from: ``normal``, ``uniform``, ``orthogonal``; ``kept`` where they were not drawn."""
    jacobian: JacobianFacts | None = None
    notes: tuple[str, ...] = ()
    """What could not be done, and why, one sentence each."""
