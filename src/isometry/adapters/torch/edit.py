"""Carries out changes on a live PyTorch model."""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from isometry.adapters.torch import process
from isometry.adapters.torch.batch import Call, call_of
from isometry.adapters.torch.biases import biases_of, set_bias
from isometry.adapters.torch.gates import gate_biases, no_forget_gates
from isometry.adapters.torch.initialise import APART
from isometry.adapters.torch.laws import Block, flat_orthogonal, normal
from isometry.adapters.torch.restructuring import Restructuring, Undo, require_somewhere
from isometry.adapters.torch.roots import compiler_of
from isometry.adapters.torch.scaling import scale_output
from isometry.adapters.torch.sites import Site, Sites
from isometry.adapters.torch.surrounding import AsBefore
from isometry.adapters.torch.weights import Matrix, fill, matrices_of, scaled
from isometry.adapters.torch.wishes import NORMS, Structural
from isometry.errors import CannotEdit
from isometry.network.edits import (
    InsertNorm,
    NetworkEdit,
    Reinitialise,
    ReplaceActivation,
    ScaleOutput,
    ScaleWeights,
    SetForgetBias,
    Unfreeze,
)
from isometry.network.nonlinearity import FUNCTIONS

__all__ = ["edit"]

NUMBERS: dict[type, dict[str, float]] = {
    Reinitialise: {"gain": 0.0},
    ScaleWeights: {"factor": -math.inf},
    SetForgetBias: {"value": -math.inf},
    ScaleOutput: {"shift": -math.inf, "factor": 0.0},
}
"""Numbers of an edit, with what they have to be above."""


def edit(
    model: nn.Module,
    edits: Iterable[NetworkEdit],
    *,
    batch: Any,
    seed: int = 0,
    undo: Undo | None = None,
    keep: bool = False,
) -> tuple[str, ...]:
    """Carry out changes to a network on a live model, in place.

    Names of layers and parameters stay. Where φ is a module of its own, another stands in its place afterwards, with
    the norm beside it. Where φ is called as a function, or by a module that serves several layers, the module in which
    the call stands gets a ``forward`` that makes the change on the way; norms are then submodules of the layer they
    follow. Either way the model can be trained, copied, pickled, saved and set to evaluation as before; to load it
    again, isometry has to be installed. Norms begin with a scale of 1, a shift of 0 and fresh running statistics.

    h = N(φ(N(z))) + x where a layer gets all of it. Weights are drawn with the deviation gain / √fan_in, independent or
    orthogonal, and their biases become 0; recurrent layers get Glorot's matrices and orthogonal ones from step to step.
    Frozen parameters stay. Of two changes to the same place the later one counts. An output is scaled by buffers of the
    model, inside its own call.

    Methods other than ``forward`` stay as they are, and so do parts of the model that were compiled before.

    Args:
        model: any module; it may be in training or in evaluation.
        edits: changes, with layers named as ``describe`` names them.
        batch: one batch of training data, as ``check`` takes it, to follow a forward pass with; or a ``Call``.
        seed: of weights that are drawn; the global generators stay as they are.
        undo: gets what takes the changes back, to be called from the last one to the first.
        keep: let norms and skips begin as the identity and as nothing, h = φ(z + α(N(z) - z)) + αx with an α each that
            is learned from 0 on. Other changes are made as without it.

    Returns:
        What was not possible for single layers, one sentence each.

    Raises:
        CannotEdit: a change can be made at none of its layers. The model is then as it was.
        UnsupportedModel: the forward pass fails on this batch.
    """
    edits = tuple(edits)
    _require_editable(model, edits)
    structural = [edit for edit in edits if isinstance(edit, Structural)]
    scalings = [edit for edit in edits if isinstance(edit, ScaleOutput)]
    told: list[str] = []
    with _all_or_nothing(undo if undo is not None else []) as undo, process.unheard():
        call = _call(model, batch) if structural or scalings else Call(())
        if structural:
            told += Restructuring(model, (call.args, call.kwargs), undo, keep=keep).carry_out(structural)
        for scaling in scalings:
            _require_known(model, scaling)
            undo.append(AsBefore(model))
            scale_output(model, scaling, (call.args, call.kwargs))
        generator = torch.Generator().manual_seed((seed + APART) % 2**63)
        for edit in edits:
            if isinstance(edit, Unfreeze):
                told += _unfreeze(model, edit, undo)
        for edit in edits:
            if isinstance(edit, Reinitialise | ScaleWeights):
                told += _reweigh(model, edit, generator, undo)
            elif isinstance(edit, SetForgetBias):
                told += _set_forget_bias(model, edit, undo)
    return tuple(dict.fromkeys(told))


def _call(model: nn.Module, batch: Any) -> Call:
    return batch if isinstance(batch, Call) else call_of(model, batch, None)


def _require_editable(model: nn.Module, edits: Sequence[NetworkEdit]) -> None:
    if not isinstance(model, nn.Module):
        raise CannotEdit(f"model: a {type(model).__name__} was given; a torch.nn.Module is needed.")
    compiler = next((found for part in model.modules() if (found := compiler_of(part))), None)
    if compiler is not None:
        raise CannotEdit(
            f"{type(model).__name__} is {compiler}, and cannot be changed any more. Change it before it is compiled."
        )
    for edit in edits:
        if not isinstance(edit, NetworkEdit):
            raise CannotEdit(f"A {type(edit).__name__} is no change to a network; a TorchTrainer makes it.")
        if isinstance(edit, ReplaceActivation) and edit.activation not in FUNCTIONS:
            raise CannotEdit(f"activation: there is no {edit.activation!r}. There are {', '.join(FUNCTIONS)}.")
        if isinstance(edit, InsertNorm) and edit.norm not in NORMS:
            raise CannotEdit(f"norm: there is no {edit.norm!r}. There are {', '.join(NORMS)}.")
        _require_fitting_numbers(edit)


def _require_known(model: nn.Module, edit: ScaleOutput) -> None:
    sites = Sites()
    sites.add(model)
    unknown = [f"`{name}`: there is no such layer." for name in edit.layers if name not in {s.name for s in sites.all}]
    if unknown:
        raise CannotEdit(f"ScaleOutput is not possible. {' '.join(unknown)}")


def _require_fitting_numbers(edit: NetworkEdit) -> None:
    for name, least in NUMBERS.get(type(edit), {}).items():
        number = getattr(edit, name)
        if not (math.isfinite(number) and number > least):
            needed = "a finite number" if least == -math.inf else f"a finite number above {least:g}"
            raise CannotEdit(f"{type(edit).__name__}: {name} = {number:g} was given; {needed} is needed.")


@contextmanager
def _all_or_nothing(undo: Undo) -> Iterator[Undo]:
    """What is done in here is undone, last things first, if it fails."""
    try:
        yield undo
    except BaseException:
        while undo:
            undo.pop()()
        raise


# --------------------------------------------------------------------------- weights


def _reweigh(model: nn.Module, edit: Reinitialise | ScaleWeights, generator: torch.Generator, undo: Undo) -> list[str]:
    """Draw or multiply the weights of the layers that an edit names; why not, where that cannot be."""
    sites = Sites()
    sites.add(model)
    known = {site.name: site for site in sites.all}
    ready: list[tuple[Site, list[Matrix]]] = []
    reasons = []
    for name in dict.fromkeys(edit.layers):
        matrices, reason = _matrices_at(known.get(name), name)
        if matrices:
            ready.append((known[name], matrices))
        else:
            reasons.append(reason)
    require_somewhere(edit, len(ready), reasons)
    matrices = list({id(one.parameter): one for _, found in ready for one in found}.values())
    biases = biases_of([site for site, _ in ready], matrices, {}, None)
    for parameter in [one.parameter for one in matrices] + [bias.parameter for bias in biases]:
        undo.append(_Restored(parameter))
    with torch.no_grad():
        for bias in biases:
            if isinstance(edit, Reinitialise):
                set_bias(bias, generator)
            else:
                bias.parameter.mul_(edit.factor)
    for matrix in matrices:
        if isinstance(edit, ScaleWeights):
            scaled(matrix, edit.factor)
        else:
            fill(matrix, _orthogonal if edit.orthogonal else normal, edit.gain, generator)
    return reasons


def _unfreeze(model: nn.Module, edit: Unfreeze, undo: Undo) -> list[str]:
    """Let the layers that an edit names learn; why not, where that cannot be."""
    sites = Sites()
    sites.add(model)
    known = {site.name: site for site in sites.all}
    frozen: dict[str, list[Tensor]] = {}
    reasons = []
    for name in dict.fromkeys(edit.layers):
        own = list(known[name].parameters.values()) if name in known else []
        found = [parameter for parameter in own if not parameter.requires_grad and parameter.is_floating_point()]
        if found:
            frozen[name] = found
        else:
            reasons.append(f"`{name}`: {'it has no frozen parameter.' if name in known else 'there is no such layer.'}")
    require_somewhere(edit, len(frozen), reasons)
    for parameter in (parameter for found in frozen.values() for parameter in found):
        undo.append(functools.partial(parameter.requires_grad_, False))
        parameter.requires_grad_(True)
    return reasons


def _set_forget_bias(model: nn.Module, edit: SetForgetBias, undo: Undo) -> list[str]:
    """Set the forget gates of the layers that an edit names; why not, where that cannot be."""
    sites = Sites()
    sites.add(model)
    known = {site.name: site for site in sites.all}
    names = tuple(dict.fromkeys(edit.layers))
    reasons = [f"`{name}`: {reason}" for name in names if (reason := no_forget_gates(known.get(name)))]
    require_somewhere(edit, len(names) - len(reasons), reasons)
    for name in names:
        if not no_forget_gates(known.get(name)):
            for bias, value in gate_biases(known[name], edit):
                undo.append(_Restored(bias))
                bias.fill_(value)
    return reasons


def _matrices_at(site: Site | None, name: str) -> tuple[list[Matrix], str]:
    if site is None:
        return [], f"`{name}`: there is no such layer."
    try:
        found = matrices_of([site])
    except CannotEdit as fault:
        return [], str(fault)
    return found, f"`{name}`: has no trainable matrix of a kind whose inputs can be counted."


def _orthogonal(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    """Orthogonal rows or columns, a kernel counted as part of the inputs; of the deviation gain / √fan_in."""
    rows, columns = len(block.values), math.prod(block.values.shape[1:])
    return flat_orthogonal(block, gain * math.sqrt(max(rows, columns) / block.fan_in), generator)


class _Restored:
    """Puts a parameter's values back."""

    def __init__(self, parameter: Tensor) -> None:
        self._parameter, self._values = parameter, parameter.detach().clone()

    @torch.no_grad()
    def __call__(self) -> None:
        self._parameter.copy_(self._values)
