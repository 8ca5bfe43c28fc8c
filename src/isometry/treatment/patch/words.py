"""Edits in a sentence each, for those who make them by hand."""

from collections.abc import Sequence

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

__all__ = ["sentence"]

CLIPPED = {
    "norm": "the whole gradient at a norm of {threshold:g}",
    "value": "each element of the gradient at a size of {threshold:g}",
    "adaptive": "what each unit gets at {threshold:g} times the norm of its weights",
    "percentile": "the whole gradient at percentile {threshold:g} of its latest norms",
    "zscore": "the whole gradient where its norm lies {threshold:g} standard deviations above its moving mean",
}


def sentence(edit: Edit) -> str:
    """What is to be done, in the imperative."""
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
            more = f", and the input gates of LSTMs with {-edit.value:.4g}" if edit.opposed else ""
            return f"Let the gates by which {_listed(edit.layers)} keep the past begin with {edit.value:.4g}{more}."
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
