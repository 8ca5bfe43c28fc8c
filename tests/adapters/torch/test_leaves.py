"""Which leaves a backward pass will reach."""

import torch
from torch import nn

from isometry.adapters.torch.leaves import reach_of


def test_leaves_are_those_that_gradients_come_to():
    used, unused, frozen = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(2, 2).requires_grad_(False)
    x = torch.randn(4, 3, requires_grad=True)
    loss = frozen(used(x)).sum() + unused(x).detach().sum()
    reach = reach_of([loss, loss])
    assert {id(leaf) for leaf in reach.leaves} == {id(x), *map(id, used.parameters())}
    assert [root is loss for root in reach.roots] == [True] and not reach.is_tangled


def test_what_was_frozen_since_the_forward_pass_is_no_leaf():
    layer = nn.Linear(3, 2)
    loss = layer(torch.randn(4, 3)).sum()
    layer.bias.requires_grad_(False)
    assert [leaf is layer.weight for leaf in reach_of([loss]).leaves] == [True]


def test_roots_beside_each_other_are_not_tangled_and_roots_behind_each_other_are():
    weight = torch.ones(4, requires_grad=True)
    first, second = (weight * 2).unbind()[:2]
    assert not reach_of([first, second]).is_tangled
    assert len(reach_of([first, second]).roots) == 2
    assert reach_of([first, first + second]).is_tangled
    assert reach_of([first, weight]).is_tangled
    assert reach_of([torch.ones(2), None]).leaves == ()
