"""Code for gradients that are clipped before every step."""

from isometry.network.edits import Clip

__all__ = ["CLIPPING", "clipping_code"]

CLIPPING = {"norm": "clip_grad_norm_", "value": "clip_grad_value_"}
"""Thresholds that a function of ``torch.nn.utils`` knows."""

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


def clipping_code(edit: Clip) -> str:
    """Code of PyTorch that clips gradients by itself."""
    match edit.by:
        case "adaptive":
            return CLIP_ADAPTIVE.format(threshold=edit.threshold)
        case "percentile":
            return CLIP_PERCENTILE.format(share=edit.threshold / 100)
        case "zscore":
            return CLIP_ZSCORE.format(threshold=edit.threshold)
        case _:
            return CLIP.format(function=CLIPPING[edit.by], threshold=edit.threshold)
