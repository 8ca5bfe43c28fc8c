"""Code for changes of number formats: what the network computes in, and the scale of its gradients."""

from isometry.network.edits import ScaleLoss, SetPrecision

__all__ = ["precision_code"]

PrecisionEdit = ScaleLoss | SetPrecision

PRECISION = """\
# Weights in float32, signals in {format}; behind the line that makes the optimiser. Where an autocast
# stands inside the model, write {setting} there. Half precision is widened wherever it is, also inside
# of lists and dictionaries; float64 stays what it is, and weights in float64 are refused.
from torch.utils._pytree import tree_map


def widened(value):
    is_half = torch.is_tensor(value) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if is_half else value


def computing_in_{format}(model):
    if any(weight.dtype == torch.float64 for weight in model.parameters()):
        raise TypeError("Weights in float64: an autocast to {format} would not change what they compute in.")
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data = widened(tensor.data)
    forward, device = model.forward, next(model.parameters()).device.type

    def computed(*args, **kwargs):
        args, kwargs = tree_map(widened, (args, kwargs))
        with torch.autocast(device, {setting}, cache_enabled=False):
            outputs = forward(*args, **kwargs)
        return tree_map(widened, outputs)

    model.forward = computed


computing_in_{format}(model)"""

LOSS_SCALE = """\
# Scaled loss; this line stands behind the one that makes the optimiser, and two lines of the loop change:
#
#     loss.backward()      becomes    scaler.scale(loss).backward()
#     optimizer.step()     becomes    scaler.step(optimizer)
#                                     scaler.update()
#
# Where gradients are clipped or looked at, scaler.unscale_(optimizer) stands before that, once in a step.
# A step is left out where a gradient is not finite.
scaler = torch.amp.GradScaler(next(model.parameters()).device.type, init_scale={factor:g})"""


def precision_code(edit: PrecisionEdit) -> str:
    """Code of PyTorch that computes in another format, or keeps gradients inside the range of theirs."""
    match edit:
        case SetPrecision():
            is_half = edit.format != "float32"
            setting = f"dtype=torch.{edit.format}" if is_half else "enabled=False"
            return PRECISION.format(format=edit.format, setting=setting)
        case ScaleLoss():
            return LOSS_SCALE.format(factor=edit.factor)
