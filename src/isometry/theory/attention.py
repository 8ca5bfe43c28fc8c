"""What random attention does to tokens: it averages them, so they become alike, and what tells them apart fades.

Logits are taken as normal and independent of the tokens, and every token sees all; T tokens, S = E Σ_j A_ij² of the
attention weights of one token, 1/T where it looks everywhere alike and 1 where it looks at one token alone. Tokens have
the mean square q and the mean cosine c; values and output matrices together multiply the mean square by g². Then a
sublayer puts out g² q (c + (1 − c) S), of which all tokens share g² q (c + (1 − c) / T).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory.checks import require_count, require_deviation

__all__ = ["TokenProfile", "attention_concentration", "attention_entropy", "token_profile"]

Floats = NDArray[np.float64]
Skip = Literal["none", "pre", "post"]
SKIPS = ("none", "pre", "post")


@dataclass(frozen=True, slots=True)
class TokenProfile:
    """Tokens before the first sublayer and behind each. shape (sublayers + 1,)"""

    q: Floats
    """Mean square."""
    cosine: Floats
    """Mean cosine of two tokens."""
    specific: Floats
    """½ log10 of the mean square of what differs from token to token, against the start. [decades]"""


def attention_concentration(logit_std: float, tokens: int) -> float:
    """S = E Σ_j A_ij², for independent normal logits: e^{σ²} / T where that is small.

    Args:
        logit_std: σ of the logits of one token.
        tokens: T.
    """
    return _weights_of(*_required(logit_std, tokens))[0]


def attention_entropy(logit_std: float, tokens: int) -> float:
    """Mean entropy of one token's attention weights, for independent normal logits: ln T − σ² / 2 where σ is small.

    In nats; its collapse is what makes training of transformers unstable.

    Sources: Zhai et al. 2023.
    """
    return _weights_of(*_required(logit_std, tokens))[1]


def _required(logit_std: float, tokens: int) -> tuple[float, int]:
    return require_deviation("logit_std", logit_std), require_count("tokens", tokens)


@lru_cache(maxsize=256)
def _weights_of(sigma: float, tokens: int) -> tuple[float, float]:
    """S and the entropy, by quadrature over w = e^a and over t.

    1 / Y² = ∫ t e^{−tY} dt, 1 / Y = ∫ e^{−tY} dt and ln Y = ∫ (e^{−t} − e^{−tY}) dt / t. Y is the sum of T independent
    w, so E e^{−tY} is a power.
    """
    if sigma == 0:
        return 1 / tokens, math.log(tokens)
    a = np.linspace(-REACH, REACH, 1201)
    chance = np.exp(-0.5 * a**2)
    chance /= chance.sum()
    a = sigma * a
    w = np.exp(a)
    steps = np.linspace(-math.log(tokens) - REACH * sigma - 25, REACH * sigma + 6, 1500)
    t = np.exp(steps)
    damped = np.exp(-np.minimum(t[:, None] * w, FAR)) * chance
    alone = damped.sum(axis=1)
    others = alone ** (tokens - 1)
    width = steps[1] - steps[0]
    squares = float(np.sum(t**2 * (damped @ w**2) * others) * width) * tokens
    logits = float(np.sum(t * (damped @ (w * a)) * others) * width) * tokens
    log_sum = float(np.sum(np.exp(-np.minimum(t, FAR)) - alone**tokens) * width)
    return min(1.0, squares), max(0.0, log_sum - logits)


REACH = 9.0
"""Standard deviations of a logit that are summed over."""
FAR = 700.0
"""e^−700 is the smallest number that a double holds, nearly."""


def token_profile(
    sublayers: int, tokens: int, *, logit_std: float = 0.0, cosine: float = 0.0, gain: float = 1.0, skip: Skip = "pre"
) -> TokenProfile:
    """Size and likeness of tokens through attention sublayers: alone, x + f(norm(x)) or norm(x + f(x)).

    Without skips what differs between tokens is multiplied by g² (S − 1 / T) in each sublayer, forwards, and so is the
    part of the gradient that tells tokens apart, backwards: rank collapse. The part that all share keeps its size. Feed
    forward layers between the sublayers, which pull tokens apart or together by their own φ, are left out.

    Args:
        sublayers: of attention.
        tokens: T.
        logit_std: σ of the logits of one token, the same in all sublayers.
        cosine: of two tokens at the start.
        gain: g; √ of the mean square that values and output matrices give to a vector of unit mean square.
        skip: ``none``, ``pre`` or ``post``.

    Raises:
        IsometryError: a number is none of its kind.

    Sources: Dong et al. 2021 (rank collapse); Noci et al. 2022; the algebra is that of random matrices.
    """
    count, size = require_count("sublayers", sublayers), require_count("tokens", tokens, least=2)
    power = require_deviation("gain", gain) ** 2
    if not -1 / (size - 1) <= cosine <= 1:
        raise IsometryError(f"cosine = {cosine!r}: a number from 0 to 1 is needed, the mean cosine of two tokens.")
    if skip not in SKIPS:
        raise IsometryError(f"skip = {skip!r}: one of {', '.join(SKIPS)} is needed.")
    concentration = attention_concentration(logit_std, size)
    apart = concentration - 1 / size
    q, different = [1.0], [1 - float(cosine)]
    for _ in range(count):
        before, unlike = q[-1], different[-1]
        read = 1 / before if skip == "pre" else 1.0
        out = power * read * (before - unlike + unlike * concentration)
        own = power * read * unlike * apart
        total, kept = (out, own) if skip == "none" else (before + out, unlike + own)
        scale = total if skip == "post" else 1.0
        q.append(total / scale)
        different.append(kept / scale)
    sizes, unlike_parts = np.array(q), np.array(different)
    with np.errstate(divide="ignore", invalid="ignore"):
        specific = 0.5 * np.log10(unlike_parts / unlike_parts[0])
    return TokenProfile(sizes, 1 - unlike_parts / sizes, np.where(unlike_parts[0] > 0, specific, 0.0))
