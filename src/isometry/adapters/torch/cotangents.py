"""What comes back from a loss to the outputs of a model: ∂L/∂output, nothing counted twice."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["cotangents_of"]


def cotangents_of(root: Tensor, outputs: Sequence[Tensor]) -> list[Tensor | None]:
    """∂root/∂output for every output, so that sending them back gives the gradients that ``root.backward()`` gives.

    An output that another one is computed from gets None, for its share is in the other's already: hidden states beside
    logits, logits beside the loss. The graph stays usable.

    Args:
        root: the loss.
        outputs: tensors of the model's output; one that stands twice counts once.
    """
    asked = {id(tensor): tensor for tensor in outputs if tensor.requires_grad and tensor.grad_fn is not None}
    if id(root) in asked:
        found: dict[int, Tensor] = {id(root): torch.ones_like(root)}
    else:
        gradients = torch.autograd.grad(root, list(asked.values()), retain_graph=True, allow_unused=True)
        found = {key: gradient for key, gradient in zip(asked, gradients, strict=True) if gradient is not None}
    for key in _read_by_others([asked[key] for key in found]):
        found.pop(key)
    return [found.pop(id(tensor), None) for tensor in outputs]


def _read_by_others(tensors: Sequence[Tensor]) -> set[int]:
    """Those, by ``id``, that another one of them is computed from."""
    nodes = {tensor.grad_fn: id(tensor) for tensor in tensors}
    read: set[int] = set()
    seen: set[object] = set()
    waiting = [following for node in nodes if node is not None for following, _ in node.next_functions]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in nodes:
            read.add(nodes[node])
        waiting.extend(following for following, _ in node.next_functions)
    return read
