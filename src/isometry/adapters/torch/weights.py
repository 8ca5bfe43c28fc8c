"""The matrices of a model that may be drawn anew."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isometry.adapters.torch.laws import Block, Law, flat_orthogonal, glorot
from isometry.adapters.torch.sites import Site
from isometry.errors import CannotEdit

__all__ = ["Matrix", "fill", "matrices_of", "scaled"]

GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}
"""Matrices that stand in one parameter, one below the other; in an LSTM for input, forget, cell and output."""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A parameter that a layer multiplies by."""

    layer: str
    name: str
    """Full name of the parameter."""
    parameter: Tensor
    role: str
    """``signal``: the layer's output is linear in it; ``attention``: of query, key or value; ``recurrent input``; or
    ``recurrent``, from step to step."""
    blocks: tuple[Block, ...]

    @property
    def recurrent(self) -> bool:
        return self.role.startswith("recurrent")


def matrices_of(sites: Iterable[Site]) -> list[Matrix]:
    """Every trainable matrix of these layers, once; of a tied one it is the first layer that counts.

    Embeddings are tables, not matrices, and are left out unless a layer multiplies by them as well. So are matrices of
    modules that torch does not know: which of their dimensions counts the inputs cannot be told.

    Raises:
        CannotEdit: a weight is computed from other parameters, or has no values yet.
    """
    found: dict[int, Matrix] = {}
    for site in sites:
        for matrix in _matrices(site):
            if matrix.parameter.requires_grad and matrix.parameter.is_floating_point():
                found.setdefault(id(matrix.parameter), matrix)
    return list(found.values())


def _matrices(site: Site) -> Iterator[Matrix]:
    module = site.module
    if module is None:
        return
    for path, role in _roles(module):
        parameter = _parameter(site, path)
        if parameter is not None:
            name = next(name for name, own in site.parameters.items() if own is parameter)
            yield Matrix(site.name, name, parameter, role, _blocks(module, path, parameter.detach()))


def _roles(module: nn.Module) -> list[tuple[str, str]]:
    """Where in a module its matrices lie, and what they are there for."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        own = [name for name in module._parameters if name.startswith("weight")]
        return [(name, "recurrent" if name.startswith("weight_hh") else "recurrent input") for name in own]
    if isinstance(module, nn.MultiheadAttention):
        inner = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return [*((name, "attention") for name in inner), ("out_proj.weight", "signal")]
    if isinstance(module, nn.Linear | nn.Bilinear | nn.modules.conv._ConvNd) or _is_stored_transposed(module):
        return [("weight", "signal")]
    return []


def _is_stored_transposed(module: nn.Module) -> bool:
    """Whether this is transformers' ``Conv1D``, a linear layer that keeps (inputs, outputs)."""
    return type(module).__name__ == "Conv1D" and isinstance(module._parameters.get("weight"), Tensor)


def _parameter(site: Site, path: str) -> Tensor | None:
    assert site.module is not None
    *within, last = path.split(".")
    owner = site.module.get_submodule(".".join(within))
    if last not in owner._parameters:
        raise CannotEdit(
            f"`{site.name}`: its {path} is computed from other parameters, as by weight_norm, spectral_norm or "
            "pruning. Initialise the model before they are put on, or name the other layers in `layers`."
        )
    parameter = owner._parameters[last]
    if parameter is not None and (isinstance(parameter, nn.UninitializedParameter) or parameter.is_meta):
        raise CannotEdit(
            f"`{site.name}`: its {path} has no values yet. Send one batch through a lazy model, and move one that was "
            "built on the meta device with `to_empty`, before it is initialised."
        )
    return parameter


def _blocks(module: nn.Module, path: str, weight: Tensor) -> tuple[Block, ...]:
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        parts = [part.transpose(0, 1) for part in weight.chunk(module.groups)]
        return tuple(_block(part, math.prod(module.stride)) for part in parts)
    if isinstance(module, nn.modules.conv._ConvNd):
        return tuple(_block(part) for part in weight.chunk(module.groups))
    if isinstance(module, nn.Bilinear):
        return (_block(weight.flatten(1)),)
    if path.startswith(("weight_ih", "weight_hh")):
        return tuple(_block(part) for part in weight.chunk(GATES.get(_kind_of_cell(module), 1)))
    if path == "in_proj_weight":
        return tuple(_block(part) for part in weight.chunk(3))
    return (_block(weight.T if _is_stored_transposed(module) else weight),)


def _kind_of_cell(module: nn.Module) -> str:
    return module.mode if isinstance(module, nn.RNNBase) else type(module).__name__


def _block(values: Tensor, stride: int = 1) -> Block:
    receptive = math.prod(values.shape[2:])
    return Block(values, values.shape[1] * receptive / stride, values.shape[0] * receptive / stride)


@torch.no_grad()
def fill(matrix: Matrix, law: Law, gain: float, generator: torch.Generator) -> None:
    """Put newly drawn values into a matrix; in recurrent layers Glorot's, and orthogonal ones from step to step."""
    if matrix.recurrent:
        law, gain = (flat_orthogonal if matrix.role == "recurrent" else glorot), 1.0
    for block in matrix.blocks:
        block.values.copy_(law(block, gain, generator))


@torch.no_grad()
def scaled(matrix: Matrix, factor: float) -> None:
    """Multiply a matrix by a number."""
    matrix.parameter.mul_(factor)
