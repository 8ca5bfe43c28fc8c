"""Random attention: formulas against tokens that went through drawn matrices."""

import math

import numpy as np
import pytest

from isometry.errors import IsometryError
from isometry.theory import attention_concentration, attention_entropy, token_profile

TOKENS, WIDTH = 64, 192


def weights(random, logit_std):
    logits = random.standard_normal((TOKENS, TOKENS)) * logit_std
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    return rows / rows.sum(axis=1, keepdims=True)


def normed(x):
    return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))


def simulated(sublayers, logit_std, gain, skip, seed):
    """Mean square, mean cosine and size of the differences, one row a sublayer."""
    random = np.random.default_rng(seed)
    x = normed(random.standard_normal((TOKENS, WIDTH)))
    found = [facts(x)]
    for _ in range(sublayers):
        matrix = random.standard_normal((WIDTH, WIDTH)) * gain / math.sqrt(WIDTH)
        out = weights(random, logit_std) @ (normed(x) if skip == "pre" else x) @ matrix
        x = {"none": out, "pre": x + out, "post": normed(x + out)}[skip]
        found.append(facts(x))
    return np.array(found)


def facts(x):
    gram = x @ x.T / WIDTH
    square = np.trace(gram) / TOKENS
    alike = (gram.sum() - np.trace(gram)) / (TOKENS * (TOKENS - 1))
    return square, alike / square, 0.5 * math.log10(max(square - alike, 1e-300))


@pytest.mark.parametrize("logit_std", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_concentration_and_entropy_are_those_of_drawn_weights(logit_std):
    drawn = np.concatenate([weights(np.random.default_rng(seed), logit_std) for seed in range(20)])
    assert attention_concentration(logit_std, TOKENS) == pytest.approx(np.mean(np.sum(drawn**2, axis=1)), rel=0.04)
    entropy = -np.mean(np.sum(drawn * np.log(drawn), axis=1))
    assert attention_entropy(logit_std, TOKENS) == pytest.approx(entropy, rel=0.03)


@pytest.mark.parametrize("skip", ["none", "pre", "post"])
@pytest.mark.parametrize(("logit_std", "gain"), [(0.3, 1.0), (1.0, 1.0), (1.0, 0.5)])
def test_tokens_become_alike_as_drawn_ones_do(skip, logit_std, gain):
    sublayers = 4 if skip == "none" else 10
    drawn = np.mean([simulated(sublayers, logit_std, gain, skip, seed) for seed in range(12)], axis=0)
    told = token_profile(sublayers, TOKENS, logit_std=logit_std, gain=gain, skip=skip)
    assert np.log10(told.q) == pytest.approx(np.log10(drawn[:, 0]), abs=0.1)
    assert told.cosine == pytest.approx(drawn[:, 1], abs=0.06)
    assert told.specific == pytest.approx(drawn[:, 2] - drawn[0, 2], abs=0.12)


def test_without_skips_what_tells_tokens_apart_fades_in_every_sublayer():
    told = token_profile(12, TOKENS, logit_std=1.0, skip="none")
    factor = attention_concentration(1.0, TOKENS) - 1 / TOKENS
    assert told.specific == pytest.approx(0.5 * math.log10(factor) * np.arange(13))
    assert told.cosine[-1] == pytest.approx(1.0)
    assert told.specific[-1] < -7


def test_pre_norm_keeps_tokens_apart_longer_than_post_norm():
    pre, post = (token_profile(24, TOKENS, logit_std=0.5, skip=skip) for skip in ("pre", "post"))
    assert pre.cosine[-1] < post.cosine[-1] < 1


@pytest.mark.parametrize(
    ("arguments", "options", "needed"),
    [
        ((0, 8), {}, "sublayers"),
        ((2, 1), {}, "tokens"),
        ((2, 8), {"cosine": 1.5}, "cosine = 1.5"),
        ((2, 8), {"skip": "both"}, "one of none, pre, post"),
        ((2, 8), {"gain": -1.0}, "gain"),
    ],
)
def test_what_is_no_attention_is_refused(arguments, options, needed):
    with pytest.raises(IsometryError, match=needed):
        token_profile(*arguments, **options)
