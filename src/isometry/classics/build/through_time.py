"""Recurrent layers with named weights, and the gradient at every time step of what they read."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isometry.classics.build.data import DATA
from isometry.network.experiment import Experiment

__all__ = ["FORGET", "KINDS", "PLAIN", "SIZE", "LastState", "experiment", "gradients", "layer", "rest_rate"]

SIZE = 64
Floats = NDArray[np.float64]


def gaussian(gain: float) -> Callable[[Tensor], object]:
    """Draws of variance gain² / n."""
    return lambda weight: nn.init.normal_(weight, std=gain / weight.shape[1] ** 0.5)


PLAIN: dict[str, Callable[[Tensor], object] | None] = {
    "RNN, torch's weights": None,
    "RNN, large weights": gaussian(3.0),
    "RNN, orthogonal": nn.init.orthogonal_,
}
FORGET = {"LSTM, forget bias 0": 0.0, "LSTM, forget bias 1": 1.0}
KINDS = (*PLAIN, *FORGET, "GRU")


def layer(kind: str) -> nn.RNNBase:
    """One recurrent layer of ``KINDS``; weights that a plain one is not given are as torch draws them: U(±1 / √n)."""
    if kind in PLAIN:
        plain = nn.RNN(SIZE, SIZE, batch_first=True)
        own, draw = dict(plain.named_parameters()), PLAIN[kind]
        if draw is not None:
            draw(own["weight_hh_l0"])
            nn.init.zeros_(own["bias_ih_l0"])
            nn.init.zeros_(own["bias_hh_l0"])
        return plain
    if kind in FORGET:
        gated = nn.LSTM(SIZE, SIZE, batch_first=True)
        with torch.no_grad():  # torch keeps two biases that are added, gates in the order i, f, g, o
            own = dict(gated.named_parameters())
            own["bias_ih_l0"][SIZE : 2 * SIZE] = FORGET[kind]
            own["bias_hh_l0"][SIZE : 2 * SIZE] = 0.0
        return gated
    return nn.GRU(SIZE, SIZE, batch_first=True)


class LastState(nn.Module):
    """What a recurrent layer says after the last step.

    Args:
        kind: of ``KINDS``.
        reads: factor of the weights by which it reads its input.
    """

    def __init__(self, kind: str, *, reads: float = 1.0) -> None:
        super().__init__()
        self.recurrent = layer(kind)
        with torch.no_grad():
            dict(self.recurrent.named_parameters())["weight_ih_l0"].mul_(reads)

    def forward(self, sequence: Tensor) -> Tensor:
        """Sequences in, states out. shapes (batch, time, size), (batch, size)"""
        states: Tensor = self.recurrent(sequence)[0]
        return states[:, -1]


def experiment(kind: str, *, length: int, seed: int, noise: float = 0.01) -> Experiment:
    """Reads noise of size 1 by input weights that make it ``noise``.

    The loss is the mean inner product of the last state with fixed random directions.
    """
    generator = np.random.default_rng([seed, DATA])  # torch's stream of this seed gives the weights
    sequences, directions = (
        torch.tensor(generator.standard_normal(shape), dtype=torch.float32)
        for shape in ((16, length, SIZE), (16, SIZE))
    )
    return Experiment(
        build=lambda: LastState(kind, reads=noise),
        data=(sequences, directions),
        loss_fn=lambda state, direction: (state * direction).sum(-1).mean(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
        epochs=4,
        batch_size=16,
    )


def gradients(kind: str, *, length: int, seed: int, noise: float = 0.01) -> Floats:
    """Size of ∂L/∂x at every time step, first step first, in double precision. [rms], shape (length,)"""
    given = experiment(kind, length=length, seed=seed, noise=noise)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = given.build().double()
    sequences, directions = (part.double() for part in given.data)
    sequences.requires_grad_()
    given.loss_fn(model(sequences), directions).backward()
    return np.asarray(sequences.grad.square().mean(dim=(0, 2)).sqrt().numpy())


def rest_rate(kind: str, *, seed: int) -> float:
    """log10 of the greatest eigenvalue of the state's Jacobian at rest (state 0, input 0, biases of gates only).

    A plain layer: W. An LSTM's cell: f + i o W_g; a GRU: z + (1 − z) r W_n, with the gates at rest. [decades / step]
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = LastState(kind).double().recurrent
    n, own = SIZE, {name: parameter.detach() for name, parameter in found.named_parameters()}
    weight = own["weight_hh_l0"]
    if kind in PLAIN:
        jacobian = weight
    else:
        gates = torch.sigmoid(own["bias_ih_l0"] + own["bias_hh_l0"])
        if kind in FORGET:
            i, f, o = gates[:n], gates[n : 2 * n], gates[3 * n :]
            jacobian = torch.diag(f) + (i[:, None] * weight[2 * n : 3 * n]) * o[None, :]
        else:
            r, z = gates[:n], gates[n : 2 * n]
            jacobian = torch.diag(z) + ((1 - z) * r)[:, None] * weight[2 * n :]
    return float(torch.linalg.eigvals(jacobian).abs().max().log10())
