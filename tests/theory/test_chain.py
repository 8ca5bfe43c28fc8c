"""Chains of layers that differ: against the maps for equal layers, and against networks that were drawn."""

import math

import numpy as np
import pytest

from isometry.errors import IsometryError
from isometry.theory import batch_norm_rate, layer_norm_rate, signal_profile
from isometry.theory.chain import ChainLayer, chain_profile, fit_chain


@pytest.mark.parametrize("phi", ["relu", "tanh", "sigmoid", "gelu"])
def test_equal_layers_are_the_length_map(phi):
    expected = signal_profile(phi, 1.3, 0.0, 12, input_square_mean=0.5)
    found = chain_profile([ChainLayer(phi, 1.3)] * 12, first=1.3**2 * 0.5)
    assert np.allclose(found.backward, expected.backward, atol=1e-9)
    assert np.allclose(found.forward, expected.forward, atol=1e-9)


@pytest.mark.parametrize("phi", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("after", [False, True])
def test_layer_norm_has_its_rate_whatever_the_weights(phi, after):
    sigma_w = 1.0 if after else 3.0  # behind φ the size of z is that of the weights, and φ is not linear
    found = chain_profile([ChainLayer(phi, sigma_w, norm="layer", after=after)] * 9, first=1.0)
    rate = layer_norm_rate(phi, before=not after)
    assert found.backward[0] == pytest.approx(8 * 0.5 * math.log10(rate), abs=1e-9)


def test_batch_norm_explodes_at_its_rate():
    found = chain_profile([ChainLayer("relu", 0.1, norm="batch")] * 51, first=7.0)
    assert found.backward[0] == pytest.approx(50 * 0.5 * math.log10(batch_norm_rate("relu")), abs=1e-9)


def _drawn(layers, widths, first, nets=200):
    """Mean of ‖δ‖² at every layer over that at the last one, of networks drawn at random; layer norm as its formula."""
    random = np.random.default_rng(0)
    sums = np.zeros(len(layers))
    for _ in range(nets):
        z = random.standard_normal(widths[0]) * math.sqrt(first)
        h, slopes, weights, kept = None, [], [], []
        for place, layer in enumerate(layers):
            if place:
                weights.append(
                    random.standard_normal((widths[place], widths[place - 1])) * layer.sigma_w / math.sqrt(len(h))
                )
                z = weights[-1] @ h
            size = math.sqrt(np.mean((z - z.mean()) ** 2)) if layer.norm and not layer.after else 1.0
            u = (z - z.mean()) / size if layer.norm and not layer.after else z
            out, slope = np.tanh(u), 1 - np.tanh(u) ** 2
            slopes.append(slope)
            kept.append((u, size))
            h = out + h if layer.skip and h is not None else out
        delta = random.standard_normal(widths[-1])
        at_output = delta / slopes[-1]
        found = [delta]
        for place in range(len(layers) - 2, -1, -1):
            above = layers[place + 1]
            back = found[-1]
            if above.norm and not above.after:
                u, size = kept[place + 1]
                back = (back - back.mean() - u * np.mean(back * u)) / size
            at_input = weights[place].T @ back
            if above.skip:
                at_input = at_input + at_output
            at_output = at_input
            found.append(at_output * slopes[place])
        squares = np.array([np.sum(one**2) for one in reversed(found)])
        sums += squares / squares[-1]
    return 0.5 * np.log10(sums / nets)


def test_layers_of_every_kind_against_drawn_networks():
    """Widths, weights, a norm and skips that differ from layer to layer."""
    layers = [
        ChainLayer("tanh", 1.0),
        ChainLayer("tanh", 2.0),
        ChainLayer("tanh", 0.5, norm="layer"),
        ChainLayer("tanh", 1.5),
        ChainLayer("tanh", 1.0, skip=True),
        ChainLayer("tanh", 0.7, skip=True),
        ChainLayer("tanh", 1.0),
    ]
    widths = [200, 150, 250, 200, 200, 200, 200]
    drawn = _drawn(layers, widths, first=0.8)
    # The last layer's own slope divides the gradient of a skip; here it has none.
    assert chain_profile(layers, first=0.8).backward == pytest.approx(drawn, abs=0.03)


def test_a_fitted_chain_gives_what_was_measured():
    layers = [ChainLayer("relu", 1.0), ChainLayer("relu", 2.0, norm="batch"), ChainLayer("gelu", 1.0, skip=True)]
    q, backward = [0.7, 3.0, 1.1], [-2.0, 0.3, 5.0]
    fitted = fit_chain(layers, q, backward)
    found = chain_profile(fitted, first=q[0])
    assert found.q == pytest.approx(q)
    assert found.backward == pytest.approx(np.array(backward) - backward[-1])


@pytest.mark.parametrize(
    ("layers", "needed"),
    [
        ([], "at least one layer"),
        ([ChainLayer("relu", 1.0, norm="group")], "there are layer and batch"),
        ([ChainLayer("relu", 1.0), ChainLayer("relu", -1.0)], "sigma_w"),
    ],
)
def test_what_is_no_chain_is_refused(layers, needed):
    with pytest.raises(IsometryError, match=needed):
        chain_profile(layers, first=1.0)


def test_a_signal_that_ended_cannot_be_fitted():
    with pytest.raises(IsometryError, match="zero or not finite"):
        fit_chain([ChainLayer("relu", 1.0)] * 2, [1.0, 1.0], [-math.inf, 0.0])
