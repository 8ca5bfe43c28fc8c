"""The trunk is the longest chain of layers that multiply or add; branches and side towers do not disturb it."""

import numpy as np
import pytest

from isometry.diagnosis.trunk import pooling_decades, trunks
from isometry.network.architecture import Architecture, Layer
from tests.runs import make_run


def linear(name, *inputs, **fields):
    return Layer(name, "linear", "Linear", fan_in=8, inputs=inputs, **fields)


def named(layers):
    architecture = Architecture(tuple(layers))
    return [tuple(architecture.names[i] for i in trunk.layers) for trunk in trunks(architecture)]


def test_a_chain_is_its_own_trunk():
    assert named([linear("a", ""), linear("b", "a"), linear("c", "b")]) == [("a", "b", "c")]


def test_without_a_traced_graph_the_order_decides():
    assert named([linear("a"), linear("b"), linear("c")]) == [("a", "b", "c")]


def test_residual_branches_are_left_out():
    layers = [
        linear("stem", ""),
        linear("block.1", "stem", branch="block.add"),
        linear("block.2", "block.1", branch="block.add"),
        Layer("block.add", "sum", "add", inputs=("block.2", "stem")),
        linear("head", "block.add"),
    ]
    assert named(layers) == [("stem", "block.add", "head")]


def test_parallel_heads_are_no_steps_of_one_profile():
    layers = [linear("a", ""), linear("b", "a"), linear("mean", "b"), linear("variance", "b"), linear("out", "mean")]
    assert named(layers) == [("a", "b", "mean", "out")]


def test_a_side_tower_ends_where_it_joins():
    layers = [
        linear("image.1", ""),
        linear("image.2", "image.1"),
        linear("image.3", "image.2"),
        linear("text.1", ""),
        linear("text.2", "text.1"),
        linear("joint", "image.3", "text.2"),
    ]
    assert named(layers) == [("image.1", "image.2", "image.3", "joint"), ("text.1", "text.2")]


def test_delta_is_read_behind_the_norm_on_the_trunk_only():
    layers = [
        linear("a", "", norm="a.norm"),
        Layer("a.norm", "norm", "BatchNorm1d", inputs=("a",)),
        linear("b", "a.norm", norm="inner"),
        Layer("inner", "norm", "LayerNorm", inputs=("b",), branch="add"),
        Layer("add", "sum", "add", inputs=("inner", "b")),
    ]
    (trunk,) = trunks(Architecture(tuple(layers)))
    assert trunk.places == (1, 2, 4)


def test_layers_that_never_ran_are_no_places():
    assert named([linear("a", ""), linear("b", "a"), linear("unused", calls=0)]) == [("a", "b")]


def test_names_play_no_part():
    layers = [linear("z", ""), linear("0", "z"), linear("m", "0")]
    assert named(layers) == [("z", "0", "m")]


def test_what_an_average_takes_is_given_back_and_no_more():
    # A 7 × 7 average divides ‖δ‖ by 7; a maximum would leave it.
    layers = [linear("conv", ""), linear("last", "conv"), linear("head", "last")]
    run = make_run(
        layers=layers,
        delta_rms=[1.0 / 49, 1.0 / 49, 1.0],
        delta_count=[49.0, 49.0, 1.0],
        input_gradient_rms=[np.nan, 1.0 / 49, 1.0],
        input_gradient_count=[0, 49.0, 1.0],
        activation_gradient_rms=np.nan,
        activation_gradient_count=0,
    )
    (trunk,) = trunks(run.architecture)
    taken = pooling_decades(run, trunk, rows=np.array([0]))
    assert taken[0] == pytest.approx([0.0, np.log10(7)], abs=1e-12)
