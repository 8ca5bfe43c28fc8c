"""What stands round the forward pass of a whole model."""

from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["Surrounding"]


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
