"""What a backward pass will reach: the leaves of the autograd graph, where gradients are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Reach", "reach_of"]

LEAF = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True, slots=True)
class Reach:
    """Of a backward pass that has not begun yet."""

    roots: tuple[Tensor, ...]
    """Where it begins, each once."""
    leaves: tuple[Tensor, ...]
    """Whose ``grad`` it adds to."""
    is_tangled: bool
    """Whether it comes through a root, so that what arrives there is more than what the pass begins with."""


def reach_of(roots: Sequence[object]) -> Reach:
    """Walk the graph behind some results. It is as long as the forward pass: about 1 µs for each operation."""
    distinct = {
        (root.grad_fn, root.output_nr): root for root in roots if isinstance(root, Tensor) and root.requires_grad
    }
    begins = {node for node, _ in distinct if node is not None}
    is_tangled = len(begins) < len({node for node, _ in distinct})  # a leaf is a root
    seen: set[Any] = set(begins)
    nodes = [*begins]
    leaves = []
    while nodes:
        node = nodes.pop()
        if node.name() == LEAF:
            leaves.append(node.variable)  # type: ignore[attr-defined]
        for following, _ in node.next_functions:
            is_tangled = is_tangled or following in begins
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    open_leaves = tuple(leaf for leaf in leaves if leaf.requires_grad)  # some may have been frozen since
    return Reach(tuple(root for (node, _), root in distinct.items() if node is not None), open_leaves, is_tangled)
