"""Code for changes of number formats: what the network computes in, and the scale of its gradients."""

from isometry.network.edits import ScaleLoss, SetPrecision

__all__ = ["precision_code"]

PrecisionEdit = ScaleLoss | SetPrecision

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


def precision_code(edit: PrecisionEdit) -> str:
    """Code of PyTorch that computes in another format, or keeps gradients inside the range of theirs."""
    match edit:
        case SetPrecision():
            is_half = edit.format != "float32"
            setting = f"dtype=torch.{edit.format}" if is_half else "enabled=False"
            return PRECISION.format(format=edit.format, setting=setting)
        case ScaleLoss():
            return LOSS_SCALE.format(factor=edit.factor)
