"""The biases that are set with the matrices beside them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isometry.adapters.torch.sites import Site
from isometry.adapters.torch.weights import Matrix
from isometry.errors import CannotEdit

__all__ = ["Bias", "biases_of", "set_bias"]

EXTRA_TOKENS = ("bias_k", "bias_v")
"""Of attention: named like biases, but sequence elements of their own."""


@dataclass(frozen=True, slots=True, eq=False)
class Bias:
    """A bias, and what it is to begin with."""

    parameter: Tensor
    std: float
    forget: float | None
    """Value of the forget gates, where it has any and they differ from the rest."""


def biases_of(
    sites: Iterable[Site], matrices: Iterable[Matrix], spreads: Mapping[str, float], forget_bias: float | None
) -> list[Bias]:
    """Trainable biases of the layers whose matrices are set.

    Args:
        sites: the layers.
        matrices: those that are set.
        spreads: standard deviations by the name of a layer, 0 for the others.
        forget_bias: of LSTMs.

    Raises:
        CannotEdit: there is a value for forget gates, and no LSTM.
    """
    set_ones = {id(matrix.parameter) for matrix in matrices}
    found = [
        Bias(parameter, spreads.get(site.name, 0.0), forget_bias if forgets else None)
        for site in sites
        if any(id(parameter) in set_ones for parameter in site.parameters.values())
        for parameter, forgets in _biases(site)
    ]
    if forget_bias is not None and all(bias.forget is None for bias in found):
        raise CannotEdit("forget_bias: no LSTM with trainable biases is among the layers asked for. Leave it out.")
    return found


def _biases(site: Site) -> Iterator[tuple[Tensor, bool]]:
    """Biases of a layer, and whether they count for forget gates: torch adds two in each gate, and one is enough."""
    for name, parameter in site.parameters.items():
        last = name.rpartition(".")[2]
        if "bias" in last and last not in EXTRA_TOKENS and parameter.requires_grad:
            yield parameter, isinstance(site.module, nn.LSTM | nn.LSTMCell) and last.startswith("bias_ih")


@torch.no_grad()
def set_bias(bias: Bias, generator: torch.Generator) -> None:
    """N(0, std²), or 0; the second quarter of an LSTM's belongs to its forget gates."""
    values = torch.zeros(bias.parameter.shape)
    if bias.std:
        values.normal_(0.0, bias.std, generator=generator)
    if bias.forget is not None:
        values.view(4, -1)[1] = bias.forget
    bias.parameter.copy_(values)
