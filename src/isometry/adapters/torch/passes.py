"""One forward pass of somebody's model, that leaves no trace in it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from isometry.errors import IsometryError, UnsupportedModel

__all__ = ["Call", "follow", "on_copies", "runs_on"]

Call = tuple[Sequence[Any], Mapping[str, Any]]
"""What the model's forward pass takes, in order and by name."""


def follow(model: nn.Module, call: Call, mode: TorchFunctionMode, seed: int) -> None:
    """One forward pass under a mode, on copies of the batch; buffers and global generators stay as they were."""
    args, kwargs = on_copies(call)
    with _undisturbed(model, seed), torch.enable_grad(), runs_on(model), mode:  # without gradients torch fuses blocks
        model(*args, **kwargs)


def on_copies(call: Call) -> Call:
    """The same batch, out of reach of operations that write into it."""
    args, kwargs = tree_map(
        lambda value: value.detach().clone() if isinstance(value, Tensor) else value, (tuple(call[0]), dict(call[1]))
    )
    return args, kwargs


@contextmanager
def runs_on(model: nn.Module) -> Iterator[None]:
    """What fails in here is told as a failure of the model's forward pass."""
    try:
        yield
    except IsometryError:
        raise
    except Exception as fault:
        raise UnsupportedModel(
            f"The forward pass of {type(model).__name__} failed: {type(fault).__name__}: {fault}. "
            "It needs a batch as in training."
        ) from fault


@contextmanager
def _undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        try:
            yield
        finally:
            with torch.no_grad():
                for module, name, buffer, before in buffers:
                    module._buffers[name] = buffer.copy_(before)
