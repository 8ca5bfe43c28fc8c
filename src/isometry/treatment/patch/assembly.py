"""The code for all edits of a treatment, each kind in its place."""

from collections.abc import Sequence

from isometry.network.architecture import Architecture
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
from isometry.treatment.patch.clipping import clipping_code
from isometry.treatment.patch.inputs import standardise_code
from isometry.treatment.patch.layout import comment
from isometry.treatment.patch.modules import DEFINITIONS, modules_code
from isometry.treatment.patch.optimiser import optimiser_code
from isometry.treatment.patch.precision import precision_code
from isometry.treatment.patch.weights import weights_code
from isometry.treatment.patch.words import sentence

__all__ = ["patch"]

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
        return "\n".join(comment(sentence(edit)) for edit in ordered) + "\n" * bool(ordered)
    blocks = [_block(edit, architecture) for edit in ordered]
    head = ["import torch\nfrom torch import nn"]
    for call, definition in DEFINITIONS.items():
        if any(call in code for code in blocks):
            head.append(definition)
    parts = head + blocks
    between = "\n\n\n" if any(part.startswith(("def ", "class ")) or "\ndef " in part for part in parts) else "\n\n"
    return between.join(parts) + "\n" if blocks else ""


def _block(edit: Edit, architecture: Architecture) -> str:
    match edit:
        case Reinitialise() | ScaleWeights() | SetForgetBias() | Unfreeze():
            return weights_code(edit, architecture)
        case AddSkip() | InsertNorm() | ReplaceActivation() | ScaleOutput():
            return modules_code(edit, architecture)
        case ChangeOptimizer() | Decay() | ScaleRate() | SetEpsilon() | WarmUp():
            return optimiser_code(edit)
        case Clip():
            return clipping_code(edit)
        case ScaleLoss() | SetPrecision():
            return precision_code(edit)
        case Standardise():
            return standardise_code(architecture)
