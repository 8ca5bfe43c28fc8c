"""Scales the losses of a live model whose training loop nobody can write into."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import ref

from torch import Tensor, nn
from torch.optim import Optimizer

from isometry.adapters.torch import process
from isometry.adapters.torch.loss_scale import LossScale
from isometry.errors import CannotEdit

__all__ = ["scaling"]


def scaling(model: nn.Module, optimizer: Optimizer, scale: LossScale) -> Callable[[], None]:
    """Scale each backward pass that follows a call of the model; what is given takes that back."""
    listener = _Scaling(scale)
    called = model.register_forward_pre_hook(lambda *_: listener.called())
    process.open_listener(listener)
    held = ref(optimizer)

    def close() -> None:
        process.close_listener(listener)
        called.remove()
        optimizer = held()
        if optimizer is not None:
            scale.close(optimizer)

    return close


class _Scaling:
    """Listens to backward passes. Those that do not follow a call of the model are somebody else's."""

    def __init__(self, scale: LossScale) -> None:
        self._scale = scale
        self._is_called = False

    def called(self) -> None:
        self._is_called = True

    def backward_begins(self, roots: list[Tensor], targets: list[Any] | None) -> None:
        if targets is not None or not self._is_called:
            self._scale.leave()
            return
        for root in roots:
            if isinstance(root, Tensor):
                self._scale.scale(root)

    def loss_scaled(self, scale: Tensor) -> None:
        raise CannotEdit(
            "ScaleLoss was applied, and the training scales its loss with a GradScaler as well. Undo the former."
        )

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._is_called = False

    # ---------------------------------------------------- what is not listened to

    def backward_ended(self, targets: list[Any] | None, gradients: Any) -> None:
        """Nothing is done then."""

    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Nothing is done then."""

    def recomputation(self) -> AbstractContextManager[object]:
        """Nothing is done then."""
        return nullcontext()
