"""Several edits in one patch, and names that would break it."""

import torch
from torch import nn

from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import AddSkip, Clip, InsertNorm, Reinitialise, ReplaceActivation
from isometry.treatment.patch import patch
from tests.treatment.patch.nets import HIDDEN, dense, patched


def test_weights_are_drawn_before_norms_move_the_layers():
    model = dense()
    space = patched(
        [Clip(1.0), InsertNorm(HIDDEN, "layer"), ReplaceActivation(HIDDEN, "relu"), Reinitialise(HIDDEN, 1.0)],
        model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )
    assert isinstance(space["model"][0][0], nn.Linear)
    assert not space["model"][0][0].bias.any()


def test_names_can_neither_leave_their_quotes_nor_their_comment():
    hostile = 'a"\nraise SystemExit  # '
    layers = (Layer(hostile, "linear", "Linear", fan_in=4, fan_out=4, weight_shape=(4, 4), activation="sin"),)
    for change in (Reinitialise((hostile,), 1.0), AddSkip((hostile,)), ReplaceActivation((hostile,), "erf")):
        code = patch([change], Architecture(layers, framework="torch 2.13"))
        model = nn.Module()
        model.add_module(hostile, nn.Linear(4, 4))
        exec(code, {"model": model})
