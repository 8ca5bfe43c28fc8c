"""What stands round the forward pass of a whole model."""

from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["AsBefore", "Surrounding"]


class Surrounding:
    """Knows the forward pass that a module had before; goes along when it is copied or pickled."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.present: Callable[..., Any] | None = vars(module).get("forward")

    @property
    def own(self) -> Callable[..., Any]:
        """The forward pass as it was before."""
        return self.present if self.present is not None else type(self.module).forward.__get__(self.module)

    @property
    def __wrapped__(self) -> Callable[..., Any]:  # what the signature is asked of
        return self.own


class AsBefore:
    """Puts a model's own forward pass and buffers back."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._forward, self._buffers = model, vars(model).get("forward"), dict(model._buffers)

    def __call__(self) -> None:
        self._model._buffers.clear()
        self._model._buffers.update(self._buffers)
        if self._forward is None:
            vars(self._model).pop("forward", None)
        else:
            vars(self._model)["forward"] = self._forward
