"""Code for changes of a network's modules: activations, normalisations, skip connections, the scale of its output.

Activations are found as modules; where ``forward()`` calls a function, the code stops and names the layer.
"""

from collections.abc import Iterable

from isometry.diagnosis.block import block
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import AddSkip, InsertNorm, ReplaceActivation, ScaleOutput
from isometry.treatment.patch.layout import comment, tuple_of
from isometry.treatment.patch.words import sentence

__all__ = ["DEFINITIONS", "MODULES", "modules_code", "norm_module"]

ModuleEdit = AddSkip | InsertNorm | ReplaceActivation | ScaleOutput

PER_GROUP = 8
"""Units that a group norm has in each group at least."""

MODULES = {
    "identity": "nn.Identity()",
    "relu": "nn.ReLU()",
    "leaky_relu": "nn.LeakyReLU()",
    "elu": "nn.ELU()",
    "selu": "nn.SELU()",
    "gelu": "nn.GELU()",
    "gelu_tanh": 'nn.GELU(approximate="tanh")',
    "silu": "nn.SiLU()",
    "mish": "nn.Mish()",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "softplus": "nn.Softplus()",
    "softsign": "nn.Softsign()",
    "relu6": "nn.ReLU6()",
    "hardtanh": "nn.Hardtanh()",
    "hardsigmoid": "nn.Hardsigmoid()",
    "hardswish": "nn.Hardswish()",
    "prelu": "nn.PReLU()",
    "celu": "nn.CELU()",
    "rrelu": "nn.RReLU()",
    "softmax": "nn.Softmax(-1)",
}
"""φ that are modules of PyTorch."""

BEHIND = '''\
def behind(model, layer, kinds):
    """Names of the modules from a layer to its activation, in the order in which they are registered."""
    modules, found = dict(model.named_modules()), [layer]
    names = list(modules)
    for name in names[names.index(layer) + 1 :]:
        if next(modules[name].children(), None) is not None or name.startswith(layer + "."):
            continue
        found.append(name)
        if isinstance(modules[name], kinds):
            return found
        if getattr(modules[name], "weight", None) is not None and modules[name].weight.dim() > 1:
            break
    raise LookupError(f"{layer}: no module applies its activation. Make this change in forward().")'''

ALONE = '''\
def require_one_each(model, kinds, uses):
    """Stop where one module applies the activation of several layers, or forward() calls it."""
    if sum(isinstance(module, kinds) for module in model.modules()) != uses:
        raise LookupError("No module for each activation: make this change in the model's forward().")'''

PUT = '''\
def put(model, name, module):
    """Set a submodule by its full name."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)'''

DEFINITIONS = {"require_one_each(": ALONE, "behind(": BEHIND, "put(": PUT}
"""Calls in the code, and the functions that stand above it once where they are called."""

OUTPUT = """\
# Outputs on the scale of the targets; behind the line that builds the model.
def on_the_scale_of_the_targets(module, args, output):
    return {shift!r} + {factor!r} * output


model.register_forward_hook(on_the_scale_of_the_targets)"""

SKIP = '''\
class Skip(nn.Sequential):
    """h = φ(z) + x"""

    def forward(self, x):
        h = super().forward(x)
        return h + x if h.shape == x.shape else h


# Skip connections; behind the line that builds the model. Where forward() calls the activation
# itself, write x = act(layer(x)) + x there.
require_one_each(model, {kinds}, {uses})
for layer in {names}:
    parts = behind(model, layer, {kinds})
    skip = Skip(*(model.get_submodule(name) for name in parts))
    for name in parts[1:]:
        put(model, name, nn.Identity())
    put(model, layer, skip)'''


def modules_code(edit: ModuleEdit, architecture: Architecture) -> str:
    """Code of PyTorch that puts other modules in place of some; a comment where it can have none."""
    match edit:
        case ReplaceActivation():
            return _replace(edit, architecture)
        case InsertNorm():
            return _norm(edit, architecture)
        case AddSkip():
            return _skip(edit, architecture)
        case ScaleOutput():
            return OUTPUT.format(shift=edit.shift, factor=edit.factor)


def _replace(edit: ReplaceActivation, architecture: Architecture) -> str:
    module = MODULES.get(edit.activation)
    layers = [architecture[name] for name in edit.layers]
    old = {phi for layer in layers if (phi := block(architecture, layer).activation)}
    if all(layer.output and layer.activation is None for layer in layers):  # φ of single elements have names
        old = {"softmax"}
    if module is None or not old or not old <= MODULES.keys():
        return comment(f"{sentence(edit)} Write it into the model's forward().")
    return "\n".join(
        (
            comment(
                f"{edit.activation} in place of {' and '.join(sorted(old))}; behind the line that builds the model. "
                "Where forward() calls the activation itself, write the other one there."
            ),
            f"require_one_each(model, {_kinds(old)}, {_uses(old, architecture) or 1})",
            f"for layer in {tuple_of(edit.layers)}:",
            f"    put(model, behind(model, layer, {_kinds(old)})[-1], {module})",
        )
    )


def _norm(edit: InsertNorm, architecture: Architecture) -> str:
    side = "behind the activation" if edit.after else "before the activation"
    head = comment(
        f"{edit.norm.capitalize()} normalisation {side}; behind the line that builds the model, before its optimiser "
        "is made."
    )
    groups: dict[tuple[str, frozenset[str]], list[str]] = {}
    for name in edit.layers:
        phi = block(architecture, architecture[name]).activation
        key = (norm_module(edit.norm, architecture[name]), frozenset({phi} if phi and edit.after else ()))
        groups.setdefault(key, []).append(name)
    parts = [head]
    for (module, old), names in groups.items():
        if edit.after and (not old or not old <= MODULES.keys()):
            parts.append(
                comment(f"{sentence(InsertNorm(tuple(names), edit.norm, after=True))} Write it into forward().")
            )
            continue
        if edit.after:
            parts.append(f"require_one_each(model, {_kinds(old)}, {_uses(old, architecture)})")
        parts.append(f"for layer in {tuple_of(names)}:")
        if edit.after:
            parts.append(f"    layer = behind(model, layer, {_kinds(old)})[-1]")
        parts.append(f"    put(model, layer, nn.Sequential(model.get_submodule(layer), {module}))")
    return "\n".join(parts)


def norm_module(norm: str, layer: Layer, written: str = "") -> str:
    """``nn.LayerNorm(64)``; ``written``: what the user's code has for the number of units, to write that instead."""
    units = layer.weight_shape[0] if layer.weight_shape else layer.fan_out or 1
    if layer.kind == "conv" and "transpose" in layer.type.lower() and len(layer.weight_shape) > 1:
        units = layer.weight_shape[1]
    dimensions = len(layer.weight_shape) - (1 + 1) if layer.kind == "conv" else 1
    match norm:
        case "group":
            groups = next(count for count in range(max(units // PER_GROUP, 1), 0, -1) if units % count == 0)
            return f"nn.GroupNorm({groups}, {units})"
        case "rms":
            return f"nn.RMSNorm({written or units}, eps=1e-5)"
        case "layer":
            return f"nn.{'GroupNorm(1, ' if layer.kind == 'conv' else 'LayerNorm('}{written or units})"
        case _:
            return f"nn.BatchNorm{dimensions}d({written or units})"


def _skip(edit: AddSkip, architecture: Architecture) -> str:
    layers = [architecture[name] for name in edit.layers]
    fitting = [layer for layer in layers if layer.fan_in == layer.fan_out]
    old = {phi for layer in fitting if (phi := block(architecture, layer).activation)}
    if not fitting or not old or not old <= MODULES.keys():
        return comment(f"{sentence(edit)} Write it into the model's forward().")
    names = tuple_of([layer.name for layer in fitting])
    return SKIP.format(names=names, kinds=_kinds(old), uses=_uses(old, architecture))


def _kinds(activations: Iterable[str]) -> str:
    """``nn.ReLU``, or ``(nn.ReLU, nn.Tanh)``"""
    names = sorted({MODULES[phi].partition("(")[0] for phi in activations})
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def _uses(activations: Iterable[str], architecture: Architecture) -> int:
    """How often the network applies these φ: as many modules there are if each serves one layer."""
    kinds = {MODULES[phi].partition("(")[0] for phi in activations}
    alike = {phi for phi, module in MODULES.items() if module.partition("(")[0] in kinds}
    return sum(layer.activation in alike for layer in architecture if layer.calls)
