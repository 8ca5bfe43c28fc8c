"""Gradients through time, as far as formulas go: one step of a plain unit, and the cell path of an LSTM.

A recurrent matrix is used again at every step, so that the long-run rate is a Lyapunov exponent, which must be
measured.
"""

import math

from isometry.errors import IsometryError
from isometry.theory.activations import ActivationLike
from isometry.theory.meanfield import chi

__all__ = ["decades_per_step", "forget_bias", "forget_decades", "forget_half_life"]


def decades_per_step(activation: ActivationLike, sigma_w: float, sigma_b: float, q: float | None = None) -> float:
    """½ log10 χ, the typical change of ‖∂L/∂h‖ a time step back in a plain recurrent net with random weights.

    An estimate: it takes the recurrent matrix for a fresh one at every step.

    Sources: Pascanu et al. 2013; Schoenholz et al. 2017 for χ.
    """
    rate = chi(activation, sigma_w, sigma_b, q)
    return 0.5 * math.log10(rate) if rate > 0 else -math.inf


def forget_decades(bias: float, *, steps: int = 1) -> float:
    """log10 of what is left of a gradient on an LSTM's cell path after so many steps: steps · log10 σ(b). [decades]

    Args:
        bias: b of the forget gate, both of its vectors together; the rest of the gate's input is taken for 0.
        steps: time steps.

    Sources: Jozefowicz et al. 2015 advise b = 1.
    """
    return -steps * float(_softplus(-bias)) / math.log(10)


def forget_half_life(bias: float) -> float:
    """Time steps after which half of the gradient is left on the cell path: ln ½ / ln σ(b)."""
    return math.log(2) / _softplus(-bias)


def forget_bias(time_scale: float) -> float:
    """The forget bias with which the cell path loses a factor of about e in so many steps: ln(T − 1).

    Chrono initialisation draws T from U(2, T_max) and sets the input gate's bias to the opposite.

    Sources: Tallec & Ollivier 2018.
    """
    if not time_scale > 1:
        raise IsometryError(f"time_scale = {time_scale}: more than one step is needed.")
    return math.log(time_scale - 1)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
