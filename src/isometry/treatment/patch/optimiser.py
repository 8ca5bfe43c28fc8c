"""Code for changes of the optimiser: another one, another learning rate, a rate that rises or falls."""

from isometry.network.edits import ChangeOptimizer, Decay, ScaleRate, SetEpsilon, WarmUp

__all__ = ["optimiser_code"]

OptimiserEdit = ChangeOptimizer | Decay | ScaleRate | SetEpsilon | WarmUp

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

OPTIMISER = """\
# Behind the line that makes the optimiser; it takes over the parameters, and no other setting.
groups = [{{"params": group["params"]}} for group in optimizer.param_groups]
optimizer = torch.optim.{made}"""

OPTIMISERS = {
    "adam": "Adam(groups, lr={rate:g})",
    "sgd": "SGD(groups, lr={rate:g}, momentum=0.9)",
}


def optimiser_code(edit: OptimiserEdit) -> str:
    """Code of PyTorch that changes the optimiser, or makes another one of the same parameters."""
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
