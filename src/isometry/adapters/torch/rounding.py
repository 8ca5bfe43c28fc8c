"""Where a gradient passes from float32 to a half-precision format on its way from the loss into the network."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["HALF", "listen_at_casts"]

HALF = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
"""Formats of 16 bits, by the names that a run keeps."""
LOOK_AT_MOST = 64
"""Nodes behind a loss among which casts are looked for."""
CAST = "ToCopyBackward0"


def listen_at_casts(roots: Sequence[object], heard: Callable[[Tensor], None]) -> None:
    """Let ``heard`` have each gradient that this backward pass is about to round to float16, as it is in float32.

    Only the first cast on each way from the loss is listened to: what stands behind it is part of the network.
    """
    for node in _casts([root.grad_fn for root in roots if isinstance(root, Tensor)]):
        node.register_prehook(lambda gradients: heard(gradients[0]) if gradients[0] is not None else None)


def _casts(nodes: list[Any]) -> Iterator[Any]:
    seen: set[Any] = set()
    while nodes and len(seen) < LOOK_AT_MOST:
        node = nodes.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        behind = [following for following, _ in node.next_functions]
        if node.name() == CAST and _format(node) == torch.float32 and _format(behind[0]) == torch.float16:
            yield node
        else:
            nodes += behind


def _format(node: Any) -> torch.dtype | None:
    metadata = getattr(node, "_input_metadata", None)
    return metadata[0].dtype if metadata else None
