"""Biases of the gates by which an LSTM keeps its past."""

from torch import Tensor, nn

from isometry.adapters.torch.sites import Site
from isometry.network.edits import SetForgetBias

__all__ = ["gate_biases", "no_forget_gates"]

GATES, INPUT, FORGET = 4, 0, 1
"""Torch has the gates of an LSTM below one another: input, forget, cell, output."""


def no_forget_gates(site: Site | None) -> str:
    """Why a layer's forget gates cannot be set; empty where they can."""
    if site is None:
        return "there is no such layer."
    if not isinstance(site.module, nn.LSTM | nn.LSTMCell):
        return f"a {type(site.module).__name__} has no forget gates; an LSTM or LSTMCell is needed."
    biases = _biases(site)
    if not biases:
        return "it was made without biases."
    return "" if all(bias.requires_grad for _, bias in biases) else "its biases are frozen."


def gate_biases(site: Site, edit: SetForgetBias) -> list[tuple[Tensor, float]]:
    """The biases of all gates that an edit sets, as views of their parameters, with what each is to be.

    Torch adds two vectors in each gate: the first one gets all.
    """
    values = {FORGET: edit.value} | ({INPUT: -edit.value} if edit.opposed else {})
    return [
        (bias.detach().view(GATES, -1)[gate], value if name.startswith("bias_ih") else 0.0)
        for name, bias in _biases(site)
        for gate, value in values.items()
    ]


def _biases(site: Site) -> list[tuple[str, Tensor]]:
    own = site.module.named_parameters(recurse=False) if site.module is not None else ()
    return [(name, bias) for name, bias in own if name.startswith("bias_")]
