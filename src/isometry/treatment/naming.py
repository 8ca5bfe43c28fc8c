"""What a treatment is called, so that two of one remedy are told apart."""

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
from isometry.treatment.prescription import Prescription

__all__ = ["details", "named"]


def named(plan: Prescription) -> str:
    """``lower-rate (× 0.03)``"""
    told = details(plan)
    return f"{plan.remedy} ({told})" if told else plan.remedy


def details(plan: Prescription) -> str:
    """The numbers and kinds of its edits, each once; empty where there are none."""
    return ", ".join(dict.fromkeys(told for edit in plan.edits if (told := _detail(edit))))


def _detail(edit: Edit) -> str:
    match edit:
        case ScaleRate():
            return f"× {edit.factor:.2g}"
        case ChangeOptimizer():
            return f"{edit.name} at {edit.rate:.2g}"
        case InsertNorm():
            return f"{edit.norm}, {'after' if edit.after else 'before'} φ"
        case ReplaceActivation():
            return edit.activation
        case Reinitialise():
            return f"σ_w {edit.gain:.2g}" + (", orthogonal" if edit.orthogonal else "")
        case Clip():
            return f"{edit.by} {edit.threshold:.2g}"
        case WarmUp() | Decay():
            return f"{edit.steps} steps"
        case SetForgetBias():
            return f"{edit.value:.2g}" + (", input gates opposed" if edit.opposed else "")
        case ScaleOutput():
            return f"{edit.shift:.2g} + {edit.factor:.2g} f(x)"
        case ScaleWeights():
            return f"weights × {edit.factor:.2g}"
        case SetEpsilon():
            return f"ε {edit.value:.2g}"
        case SetPrecision():
            return edit.format
        case ScaleLoss():
            return f"× {edit.factor:,.0f}"
        case AddSkip() | Standardise() | Unfreeze():
            return ""
