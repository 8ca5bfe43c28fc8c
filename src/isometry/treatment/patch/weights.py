"""Code for changes of a network's numbers: weights drawn anew or scaled, biases of gates, layers that learn again."""

import textwrap
from collections.abc import Iterator, Sequence
from math import sqrt

from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import Reinitialise, ScaleWeights, SetForgetBias, Unfreeze
from isometry.treatment.patch.layout import comment, tuple_of

__all__ = ["weights_code"]

WeightEdit = Reinitialise | ScaleWeights | SetForgetBias | Unfreeze

DRAW = """\
for name in {names}:
    layer = model.get_submodule(name)
    {draw}
    if layer.bias is not None:
        layer.bias.zero_()"""

DRAW_EACH = """\
for layer in {names}:
    for name, parameter in model.get_submodule(layer).named_parameters(recurse=False):
        if parameter.dim() < 2:
            parameter.zero_()
        elif "weight_hh" in name:  # from time step to time step
            {draw}
        else:
            nn.init.xavier_normal_(parameter)"""

DRAW_ATTENTION = """\
for layer in {names}:
    for parameter in model.get_submodule(layer).parameters():
        if parameter.dim() == 2:
            {draw}
        elif parameter.dim() == 1:
            parameter.zero_()"""

SCALE = """\
# Weights and biases scaled; behind the line that builds the model.
with torch.no_grad():
    for name in {names}:
        for parameter in model.get_submodule(name).parameters(recurse=False):
            parameter *= {factor:.6g}"""

UNFREEZE = """\
# These layers learn; behind the line that froze them, and before the one that makes the optimiser.
for name in {names}:
    for parameter in model.get_submodule(name).parameters(recurse=False):
        parameter.requires_grad_(True)"""

FORGET = """\
    for layer in map(model.get_submodule, {names}):
        for name, bias in layer.named_parameters(recurse=False):
            if name.startswith("bias_"):  # torch adds two vectors in each gate
                gates = bias.view(-1, layer.hidden_size)
                {gates} = {values} if name.startswith("bias_ih") else {zeros}"""
UPDATE_GATE = "gru"
"""In the name of a layer's type, where one gate keeps the past and shuts out what is new."""


def weights_code(edit: WeightEdit, architecture: Architecture) -> str:
    """Code of PyTorch that changes the numbers of some layers."""
    match edit:
        case Reinitialise():
            return _redraw(edit, architecture)
        case ScaleWeights():
            return _scale(edit)
        case SetForgetBias():
            return _forget(edit, [architecture[name] for name in edit.layers])
        case Unfreeze():
            return UNFREEZE.format(names=tuple_of(edit.layers))


def _redraw(edit: Reinitialise, architecture: Architecture) -> str:
    law = "Orthogonal weights" if edit.orthogonal else "Weights of standard deviation σ_w / √fan_in"
    scale = "" if edit.orthogonal and edit.gain == 1 else f", σ_w = {edit.gain:.4g}"
    head = comment(f"{law}{scale}, biases 0; behind the line that builds the model.")
    return "\n".join([head, "with torch.no_grad():", *_draws(edit, [architecture[name] for name in edit.layers])])


def _draws(edit: Reinitialise, layers: Sequence[Layer]) -> Iterator[str]:
    """Layers that get the same numbers at a time, so that the code has no formula."""
    groups: dict[str, list[str]] = {}
    for layer in layers:
        groups.setdefault(_draw(edit, layer), []).append(layer.name)
    for draw, names in groups.items():
        template = DRAW if "layer.weight" in draw else DRAW_ATTENTION if "parameter.normal_" in draw else DRAW_EACH
        yield textwrap.indent(template.format(names=tuple_of(names), draw=draw), "    ")


def _draw(edit: Reinitialise, layer: Layer) -> str:
    if layer.kind == "attention" and not edit.orthogonal:
        return f"parameter.normal_(std={edit.gain:.6g} / parameter.shape[1] ** 0.5)"
    if layer.kind not in {"linear", "conv"} or not layer.fan_in or layer.weight_shape == ():
        return f"nn.init.orthogonal_(parameter, gain={edit.gain:.6g})"
    if not edit.orthogonal:
        return f"nn.init.normal_(layer.weight, std={edit.gain / sqrt(layer.fan_in):.4g})"
    rows = layer.weight_shape[0]
    return f"nn.init.orthogonal_(layer.weight, gain={edit.gain * sqrt(max(rows / layer.fan_in, 1)):.4g})"


def _scale(edit: ScaleWeights) -> str:
    return SCALE.format(names=textwrap.indent(tuple_of(edit.layers), "    ").lstrip(), factor=edit.factor)


def _forget(edit: SetForgetBias, layers: Sequence[Layer]) -> str:
    updating = [layer.name for layer in layers if UPDATE_GATE in layer.type.lower()]
    forgetting = [layer.name for layer in layers if layer.name not in updating]
    kinds = " and ".join(kind for kind, found in (("forget", forgetting), ("update", updating)) if found)
    head = comment(
        f"{kinds.capitalize()} gates with a bias of {edit.value:.4g}; behind the line that builds the model."
    )
    opposed = [_gates(forgetting, edit.value, opposed=True)] if edit.opposed and forgetting else []
    plain = updating if edit.opposed else [*forgetting, *updating]
    return "\n".join([head, "with torch.no_grad():", *opposed, *([_gates(plain, edit.value)] if plain else [])])


def _gates(names: Sequence[str], value: float, *, opposed: bool = False) -> str:
    gates, values, zeros = "gates[1]", f"{value:.6g}", "0.0"
    if opposed:
        gates, values, zeros = "gates[0], gates[1]", f"({-value:.6g}, {value:.6g})", "(0.0, 0.0)"
    listed = textwrap.indent(tuple_of(names), "    ").lstrip()
    return FORGET.format(names=listed, gates=gates, values=values, zeros=zeros)
