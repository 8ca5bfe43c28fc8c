import math

import pytest
import torch
from torch import nn

from isometry.adapters.torch.redraw import draw, law_of


def drawn(weight):
    """A weight drawn from the law of another."""
    fresh = weight.clone()
    draw(fresh, law_of(weight), torch.Generator().manual_seed(1))
    return fresh


def of(initialise, *shape):
    weight = torch.empty(shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        initialise(weight)
    return weight


@pytest.mark.parametrize(
    ("initialise", "kind"),
    [
        (nn.init.kaiming_normal_, "normal"),
        (nn.init.kaiming_uniform_, "uniform"),
        (nn.init.trunc_normal_, "normal"),
        (nn.init.orthogonal_, "orthogonal"),
    ],
)
@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (64, 16, 3, 3)])
def test_the_usual_initialisers_are_told_and_drawn_again(initialise, kind, shape):
    weight = of(initialise, *shape)
    law, fresh = law_of(weight), drawn(weight)
    assert law.kind == kind
    assert not torch.equal(fresh, weight)
    assert float(fresh.std() / weight.std()) == pytest.approx(1, abs=0.03)
    assert law_of(fresh).kind == kind


def test_a_drawn_orthogonal_matrix_keeps_lengths():
    weight = 3 * of(nn.init.orthogonal_, 64, 64)
    fresh = drawn(weight)
    assert torch.allclose(fresh @ fresh.T, 9 * torch.eye(64), atol=1e-4)


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(50, 50),
        torch.full((50, 50), 0.3),
        torch.eye(64),
        torch.randn(64, generator=torch.Generator().manual_seed(0)),
        torch.full((50, 50), math.nan),
        torch.ones(2, 2),
        torch.zeros(0, 3),
    ],
)
def test_constants_identities_vectors_and_what_is_not_finite_are_kept(weight):
    assert law_of(weight).kind == "kept"
    assert torch.equal(drawn(weight).nan_to_num(), weight.nan_to_num())


def test_a_convolution_that_begins_as_identity_is_kept():
    assert law_of(of(nn.init.dirac_, 16, 16, 3, 3)).kind == "kept"


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_size_does_not_matter(scale):
    weight = scale * of(nn.init.xavier_normal_, 100, 100)
    assert law_of(weight).kind == "normal"
    assert float(drawn(weight).double().std() / weight.double().std()) == pytest.approx(1, abs=0.03)


def test_a_mean_that_is_not_zero_is_drawn_too():
    weight = 1 + 0.1 * of(nn.init.normal_, 100, 100)
    assert float(drawn(weight).mean()) == pytest.approx(1, abs=0.01)


def test_same_generator_same_weights():
    weight = of(nn.init.xavier_uniform_, 30, 30)
    assert torch.equal(drawn(weight), drawn(weight))
