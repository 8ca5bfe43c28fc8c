"""Outputs on the scale of the targets, as a last step inside a model's own call."""

from typing import Any

import torch
from torch import Tensor, nn

from isometry.adapters.torch.passes import Call
from isometry.adapters.torch.places import look
from isometry.adapters.torch.surrounding import Surrounding
from isometry.errors import CannotEdit
from isometry.network.edits import ScaleOutput

__all__ = ["scale_output"]

SHIFT, FACTOR = "inserted_output_shift", "inserted_output_factor"
"""Buffers of the model."""


def scale_output(model: nn.Module, edit: ScaleOutput, call: Call) -> None:
    """Let a model give shift + factor · f(x), in place.

    Both numbers become buffers of the model, and so go into its ``state_dict``. What is scaled already is scaled
    on top of that.

    Args:
        model: gives one tensor.
        edit: the two numbers.
        call: what its forward pass takes.

    Raises:
        CannotEdit: the output is no tensor of real numbers.
    """
    given = _output(model, call)
    if not isinstance(given, Tensor) or not given.is_floating_point():
        kind = str(given.dtype) if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise CannotEdit(
            f"The output of {type(model).__name__} is {kind}: only a tensor of real numbers can be scaled."
        )
    is_new = FACTOR not in model._buffers
    shift, factor = (given.new_tensor(value, requires_grad=False) for value in (edit.shift, edit.factor))
    if not is_new:
        shift, factor = shift + factor * getattr(model, SHIFT), factor * getattr(model, FACTOR)
    model.register_buffer(SHIFT, shift)
    model.register_buffer(FACTOR, factor)
    if is_new:
        vars(model)["forward"] = _Scaling(model)


class _Scaling(Surrounding):
    """Stands as ``forward`` in a model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        shift: Tensor = getattr(self.module, SHIFT)
        factor: Tensor = getattr(self.module, FACTOR)
        return torch.addcmul(shift, factor, self.own(*args, **kwargs))


def _output(model: nn.Module, call: Call) -> Any:
    """What a forward pass gives; model, buffers and random numbers stay as they were."""
    given: list[Any] = []
    hook = model.register_forward_hook(lambda module, args, output: given.append(output))
    try:
        look(model, call)
    finally:
        hook.remove()
    return given[0]
