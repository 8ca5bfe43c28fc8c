"""The change to make by hand: short code to paste, with the names of the layers and the numbers in it.

Network edits belong behind the line that builds the model and before the one that makes its optimiser, training edits
behind the latter. Names in the code: ``model``, ``optimizer`` and, for what is done to the data, ``inputs``.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from math import sqrt

from isometry.diagnosis.block import block
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    Decay,
    Edit,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleLoss,
    ScaleOutput,
    ScaleRate,
    ScaleWeights,
    SetEpsilon,
    SetForgetBias,
    SetPrecision,
    Standardise,
    Unfreeze,
    WarmUp,
)

__all__ = ["CLIPPING", "MODULES", "norm_module", "patch"]

WIDTH = 100
"""Of a line of code."""
PER_GROUP = 8
"""Units that a group norm has in each group at least."""
FRAME = 20
"""Of it, for what stands round a list of names."""

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
# Forget gates with a bias of {value:.4g}; behind the line that builds the model.
with torch.no_grad():
    for layer in {names}:
        for name, bias in model.get_submodule(layer).named_parameters(recurse=False):
            if name.startswith("bias_"):  # torch adds two vectors in each gate
                gates = bias.view(4, -1)
                {gates} = {values} if name.startswith("bias_ih") else {zeros}"""

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

RATE = """\
# Learning rate; behind the line that makes the optimiser, before the one that makes a scheduler.
for group in optimizer.param_groups:
    group["lr"] *= {factor:g}"""

EPSILON = """\
# What the optimiser adds to the gradient's size before it divides; behind the line that makes it.
for group in optimizer.param_groups:
    group["eps"] = {value:g}"""

WARM_UP = """\
# Warm-up; behind the line that makes the optimiser. It goes on by itself, step by step.
warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor={start:.6g}, total_iters={steps})
optimizer.register_step_post_hook(lambda *_: warm_up.step())"""

DECAY = """\
# The rate falls to zero; behind the line that makes the optimiser. It goes on by itself, step by step.
decay = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters={steps})
optimizer.register_step_post_hook(lambda *_: decay.step())"""

CLIP = """\
# Clipped gradients; behind the line that makes the optimiser. It goes on by itself, before every step.
def clip(*_):
    nn.utils.{function}(model.parameters(), {threshold:g})


optimizer.register_step_pre_hook(clip)"""

CLIP_ADAPTIVE = """\
# Gradients clipped unit by unit, at a share of the norm of the weights; behind the line that makes the
# optimiser. It goes on by itself, before every step.
@torch.no_grad()
def clip(*_):
    for parameter in model.parameters():
        if parameter.grad is not None:
            dims = tuple(range(1, parameter.dim())) or None
            weight = torch.linalg.vector_norm(parameter, dim=dims, keepdim=True).clamp(min=1e-3)
            norm = torch.linalg.vector_norm(parameter.grad, dim=dims, keepdim=True)
            parameter.grad *= ({threshold:g} * weight / norm).clamp(max=1)


optimizer.register_step_pre_hook(clip)"""

CLIP_PERCENTILE = """\
# Gradients clipped at a percentile of their latest norms; behind the line that makes the optimiser. It
# goes on by itself, before every step.
def clip(*_):
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).cpu()
    recent.extend([norm] * bool(norm.isfinite()))
    del recent[:-1_000]
    if recent:
        nn.utils.clip_grad_norm_(model.parameters(), float(torch.stack(recent).quantile({share:g})))


recent = []
optimizer.register_step_pre_hook(clip)"""

CLIP_ZSCORE = """\
# Gradients clipped where their norm stands out from its moving mean; behind the line that makes the
# optimiser. It goes on by itself, before every step.
def clip(*_):
    norm = float(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    if norm != norm or norm == float("inf"):
        return
    if len(first) < 25:
        first.append(norm)
        past["mean"] = sum(first) / len(first)
        past["variance"] = sum((one - past["mean"]) ** 2 for one in first) / len(first)
        return
    away = norm - past["mean"]
    if away > {threshold:g} * past["variance"] ** 0.5 > 0:
        norm = past["mean"] + {threshold:g} ** 2 * past["variance"] / away
        nn.utils.clip_grad_norm_(model.parameters(), norm)
    past["variance"] = 0.97 * past["variance"] + 0.03 * (norm - past["mean"]) ** 2
    past["mean"] = 0.97 * past["mean"] + 0.03 * norm


first, past = [], {{"mean": 0.0, "variance": 0.0}}
optimizer.register_step_pre_hook(clip)"""

STANDARDISE = """\
# Inputs of mean 0 and size 1, {each} by itself; inputs are those to train on. Do the same, with this
# mean and std, to all that the model reads later.
dims = {dims}
mean = inputs.mean(dims, keepdim=True)
std = inputs.std(dims, correction=0, keepdim=True)
std[std == 0] = 1
inputs = (inputs - mean) / std"""

PRECISION = """\
# Weights in float32, signals in {format}; behind the line that makes the optimiser. Where an autocast
# stands inside the model, write {setting} there.
model.float()
forward = model.forward


def widened(value):
    return value.float() if torch.is_tensor(value) and value.is_floating_point() else value


def computed(*args, **kwargs):
    args, kwargs = [widened(value) for value in args], {{name: widened(kwargs[name]) for name in kwargs}}
    device = next(model.parameters()).device.type
    with torch.autocast(device, {setting}, cache_enabled=False):
        output = forward(*args, **kwargs)
    return widened(output)


model.forward = computed"""

LOSS_SCALE = """\
# Scaled loss; behind the line that makes the optimiser. In the training loop write backward(loss) in
# place of loss.backward(), and step() in place of optimizer.step().
scaler = torch.amp.GradScaler(next(model.parameters()).device.type, init_scale={factor:g})


def backward(loss):
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)  # what is clipped, or looked at, is the gradient itself


def step():
    scaler.step(optimizer)  # left out where a gradient is not finite
    scaler.update()"""

OPTIMISER = """\
# Behind the line that makes the optimiser; it takes over the parameters, and no other setting.
groups = [{{"params": group["params"]}} for group in optimizer.param_groups]
optimizer = torch.optim.{made}"""

OPTIMISERS = {
    "adam": "Adam(groups, lr={rate:g})",
    "sgd": "SGD(groups, lr={rate:g}, momentum=0.9)",
}

CLIPPING = {"norm": "clip_grad_norm_", "value": "clip_grad_value_"}
CLIPPED = {
    "norm": "the whole gradient at a norm of {threshold:g}",
    "value": "each element of the gradient at a size of {threshold:g}",
    "adaptive": "what each unit gets at {threshold:g} times the norm of its weights",
    "percentile": "the whole gradient at percentile {threshold:g} of its latest norms",
    "zscore": "the whole gradient where its norm lies {threshold:g} standard deviations above its moving mean",
}

ORDER = (
    Standardise,
    SetPrecision,
    Unfreeze,
    Reinitialise,
    ScaleWeights,
    SetForgetBias,
    ReplaceActivation,
    AddSkip,
    InsertNorm,
    ScaleOutput,
    ChangeOptimizer,
    SetEpsilon,
    ScaleRate,
    WarmUp,
    Decay,
    Clip,
    ScaleLoss,
)
"""Weights are drawn while the layers still have their own names; the optimiser is made before it is tuned."""


def patch(edits: Sequence[Edit], architecture: Architecture) -> str:
    """Code, or sentences where there is none, that makes some edits by hand, one block for each.

    Of PyTorch the code runs as it stands where activations are modules; where the forward pass calls a function, it
    stops and names the layer.

    Args:
        edits: what to change
        architecture: the network that they are meant for
    """
    ordered = sorted(edits, key=lambda edit: ORDER.index(type(edit)))
    if architecture.framework.split()[:1] != ["torch"]:  # its version follows the name
        return "\n".join(_comment(_sentence(edit)) for edit in ordered) + "\n" * bool(ordered)
    blocks = [
        block
        for edit in ordered
        for block in (_network_block(edit, architecture) or _training_block(edit, architecture),)
    ]
    head = ["import torch\nfrom torch import nn"]
    for call, definition in (("require_one_each(", ALONE), ("behind(", BEHIND), ("put(", PUT)):
        if any(call in code for code in blocks):
            head.append(definition)
    parts = head + blocks
    between = "\n\n\n" if any(part.startswith(("def ", "class ")) or "\ndef " in part for part in parts) else "\n\n"
    return between.join(parts) + "\n" if blocks else ""


# In words -------------------------------------------------------------------------------------------------------------


def _sentence(edit: Edit) -> str:
    match edit:
        case Reinitialise():
            law = "orthogonal matrices times" if edit.orthogonal else "standard deviation 1 / √fan_in times"
            return f"Draw the weights of {_listed(edit.layers)} anew, {law} {edit.gain:.4g}, biases at zero."
        case ScaleWeights():
            return f"Multiply weights and biases of {_listed(edit.layers)} by {edit.factor:.4g}."
        case ReplaceActivation():
            return f"Apply {edit.activation} to the output of {_listed(edit.layers)}."
        case InsertNorm():
            side = "behind" if edit.after else "before"
            return f"Put {edit.norm} normalisation {side} the activation of {_listed(edit.layers)}."
        case AddSkip():
            return f"Add what it reads to the activated output of each of {_listed(edit.layers)}, where shapes agree."
        case Unfreeze():
            return f"Let the parameters of {_listed(edit.layers)} learn."
        case SetForgetBias():
            more = f", and the input gates with {-edit.value:.4g}" if edit.opposed else ""
            return f"Let the forget gates of {_listed(edit.layers)} begin with a bias of {edit.value:.4g}{more}."
        case ScaleOutput():
            return f"Multiply the network's output by {edit.factor:g} and add {edit.shift:g}."
        case ScaleRate():
            return f"Multiply the learning rate by {edit.factor:g}."
        case WarmUp():
            return f"Let the learning rate rise evenly over the first {edit.steps:,} steps."
        case Decay():
            return f"Let the learning rate fall evenly to zero over the {edit.steps:,} steps of the training."
        case ChangeOptimizer():
            return f"Use the optimiser {edit.name} at a learning rate of {edit.rate:g}."
        case SetEpsilon():
            return f"Let the optimiser divide by the gradient's size plus {edit.value:g}."
        case Clip():
            return f"Before every step, clip {CLIPPED[edit.by].format(threshold=edit.threshold)}."
        case SetPrecision():
            return f"Hold the weights in float32 and compute in {edit.format}."
        case ScaleLoss():
            return (
                f"Multiply the loss by {edit.factor:g} before the backward pass and divide gradients before the step; "
                "leave steps out whose gradients are not finite, and halve the factor then."
            )
        case Standardise():
            return "Give the network inputs of mean 0 and standard deviation 1, feature by feature."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False))


# PyTorch: the network -------------------------------------------------------------------------------------------------


def _network_block(edit: Edit, architecture: Architecture) -> str:
    match edit:
        case Reinitialise():
            return _redraw(edit, architecture)
        case ScaleWeights():
            return _scale(edit)
        case ReplaceActivation():
            return _replace(edit, architecture)
        case InsertNorm():
            return _norm(edit, architecture)
        case AddSkip():
            return _skip(edit, architecture)
        case Unfreeze():
            return UNFREEZE.format(names=_names(edit.layers))
        case SetForgetBias():
            return _forget(edit)
        case ScaleOutput():
            return OUTPUT.format(shift=edit.shift, factor=edit.factor)
        case _:
            return ""


def _redraw(edit: Reinitialise, architecture: Architecture) -> str:
    law = "Orthogonal weights" if edit.orthogonal else "Weights of standard deviation σ_w / √fan_in"
    scale = "" if edit.orthogonal and edit.gain == 1 else f", σ_w = {edit.gain:.4g}"
    head = _comment(f"{law}{scale}, biases 0; behind the line that builds the model.")
    return "\n".join([head, "with torch.no_grad():", *_draws(edit, [architecture[name] for name in edit.layers])])


def _draws(edit: Reinitialise, layers: Sequence[Layer]) -> Iterator[str]:
    """Layers that get the same numbers at a time, so that the code has no formula."""
    groups: dict[str, list[str]] = {}
    for layer in layers:
        groups.setdefault(_draw(edit, layer), []).append(layer.name)
    for draw, names in groups.items():
        template = DRAW if "layer.weight" in draw else DRAW_EACH
        yield textwrap.indent(template.format(names=_names(names), draw=draw), "    ")


def _draw(edit: Reinitialise, layer: Layer) -> str:
    if layer.kind not in {"linear", "conv"} or not layer.fan_in or layer.weight_shape == ():
        return f"nn.init.orthogonal_(parameter, gain={edit.gain:.6g})"
    if not edit.orthogonal:
        return f"nn.init.normal_(layer.weight, std={edit.gain / sqrt(layer.fan_in):.4g})"
    rows = layer.weight_shape[0]
    return f"nn.init.orthogonal_(layer.weight, gain={edit.gain * sqrt(max(rows / layer.fan_in, 1)):.4g})"


def _scale(edit: ScaleWeights) -> str:
    return SCALE.format(names=textwrap.indent(_names(edit.layers), "    ").lstrip(), factor=edit.factor)


def _forget(edit: SetForgetBias) -> str:
    gates, values, zeros = "gates[1]", f"{edit.value:.6g}", "0.0"
    if edit.opposed:
        gates, values, zeros = "gates[0], gates[1]", f"({-edit.value:.6g}, {edit.value:.6g})", "(0.0, 0.0)"
    names = textwrap.indent(_names(edit.layers), "    ").lstrip()
    return FORGET.format(names=names, value=edit.value, gates=gates, values=values, zeros=zeros)


def _replace(edit: ReplaceActivation, architecture: Architecture) -> str:
    module = MODULES.get(edit.activation)
    layers = [architecture[name] for name in edit.layers]
    old = {phi for layer in layers if (phi := block(architecture, layer).activation)}
    if all(layer.output and layer.activation is None for layer in layers):  # φ of single elements have names
        old = {"softmax"}
    if module is None or not old or not old <= MODULES.keys():
        return _comment(f"{_sentence(edit)} Write it into the model's forward().")
    return "\n".join(
        (
            _comment(
                f"{edit.activation} in place of {' and '.join(sorted(old))}; behind the line that builds the model. "
                "Where forward() calls the activation itself, write the other one there."
            ),
            f"require_one_each(model, {_kinds(old)}, {_uses(old, architecture) or 1})",
            f"for layer in {_names(edit.layers)}:",
            f"    put(model, behind(model, layer, {_kinds(old)})[-1], {module})",
        )
    )


def _norm(edit: InsertNorm, architecture: Architecture) -> str:
    side = "behind the activation" if edit.after else "before the activation"
    head = _comment(
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
                _comment(f"{_sentence(InsertNorm(tuple(names), edit.norm, after=True))} Write it into forward().")
            )
            continue
        if edit.after:
            parts.append(f"require_one_each(model, {_kinds(old)}, {_uses(old, architecture)})")
        parts.append(f"for layer in {_names(names)}:")
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
        return _comment(f"{_sentence(edit)} Write it into the model's forward().")
    names = _names([layer.name for layer in fitting])
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


def _names(names: Sequence[str]) -> str:
    """A tuple of names as code, on several lines where it is long."""
    shown = [json.dumps(name, ensure_ascii=False) for name in names]
    line = f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"
    if len(line) <= WIDTH - FRAME:
        return line
    rows = [""]
    for name in shown:
        if rows[-1] and len(rows[-1]) + len(name) > WIDTH - FRAME:
            rows.append("")
        rows[-1] += f"{name}, "
    return "(\n" + "".join(f"    {row.rstrip()}\n" for row in rows) + ")"


# PyTorch: the training ------------------------------------------------------------------------------------------------


def _training_block(edit: Edit, architecture: Architecture) -> str:
    match edit:
        case ScaleRate():
            return RATE.format(factor=edit.factor)
        case SetEpsilon():
            return EPSILON.format(value=edit.value)
        case WarmUp():
            return WARM_UP.format(start=1 / edit.steps, steps=edit.steps - 1)
        case Decay():
            return DECAY.format(steps=edit.steps)
        case ChangeOptimizer():
            return OPTIMISER.format(made=OPTIMISERS[edit.name].format(rate=edit.rate))
        case Clip():
            return _clip(edit)
        case SetPrecision():
            is_half = edit.format != "float32"
            setting = f"dtype=torch.{edit.format}" if is_half else "enabled=False"
            return PRECISION.format(format=edit.format, setting=setting)
        case ScaleLoss():
            return LOSS_SCALE.format(factor=edit.factor)
        case _:
            first = next((layer for layer in architecture if "" in layer.inputs and layer.weighted), None)
            if first is not None and first.kind == "conv":
                return STANDARDISE.format(each="each channel", dims="[d for d in range(inputs.dim()) if d != 1]")
            return STANDARDISE.format(each="each feature", dims="list(range(inputs.dim() - 1))")


def _clip(edit: Clip) -> str:
    match edit.by:
        case "adaptive":
            return CLIP_ADAPTIVE.format(threshold=edit.threshold)
        case "percentile":
            return CLIP_PERCENTILE.format(share=edit.threshold / 100)
        case "zscore":
            return CLIP_ZSCORE.format(threshold=edit.threshold)
        case _:
            return CLIP.format(function=CLIPPING[edit.by], threshold=edit.threshold)
