"""Biases of the gates by which an LSTM or a GRU keeps its past."""

from torch import Tensor, nn

from isometry.adapters.torch.sites import Site
from isometry.network.edits import SetForgetBias

__all__ = ["gate_biases", "no_forget_gates"]

LSTM, GRU = (nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell)
LSTM_GATES, GRU_GATES = ("input", "forget", "cell", "output"), ("reset", "update", "new")
"""As torch has them, below one another."""
INPUT, KEEPING = 0, 1
"""The update gate z of a GRU keeps the past where it is large, h' = (1 − z) n + z h, and takes in as much less."""


def no_forget_gates(site: Site | None) -> str:
    """Why a layer's forget gates cannot be set; empty where they can."""
    if site is None:
        return "there is no such layer."
    if not isinstance(site.module, (*LSTM, *GRU)):
        return f"a {type(site.module).__name__} has no forget gates; an LSTM or GRU, or a cell of one, is needed."
    biases = _biases(site)
    if not biases:
        return "it was made without biases."
    return "" if all(bias.requires_grad for _, bias in biases) else "its biases are frozen."


def gate_biases(site: Site, edit: SetForgetBias) -> list[tuple[Tensor, float]]:
    """The biases of all gates that an edit sets, as views of their parameters, with what each is to be.

    Torch adds two vectors in each gate: the first one gets all.
    """
    is_opposed = edit.opposed and isinstance(site.module, LSTM)
    values = {KEEPING: edit.value} | ({INPUT: -edit.value} if is_opposed else {})
    count = len(LSTM_GATES if isinstance(site.module, LSTM) else GRU_GATES)
    return [
        (bias.detach().view(count, -1)[gate], value if name.startswith("bias_ih") else 0.0)
        for name, bias in _biases(site)
        for gate, value in values.items()
    ]


def _biases(site: Site) -> list[tuple[str, Tensor]]:
    own = site.module.named_parameters(recurse=False) if site.module is not None else ()
    return [(name, bias) for name, bias in own if name.startswith("bias_")]
