"""What can be read off the graph behind a loss: its kind, its targets, and where it stopped being finite."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from isometry.adapters.torch import measure
from isometry.adapters.torch.residual import CASTS, REDUCING, RESHAPES, Residual, residual_of
from isometry.adapters.torch.singular import fault_of, operation, saved, slope_fault_of, without_slope_somewhere
from isometry.network.signals import MOMENTS, Signal
from isometry.statistics.reach import RANGES

__all__ = ["Suspect", "describe_loss", "where_not_finite", "where_slope_not_finite"]

KINDS = {
    "NllLossBackward0": "cross_entropy",
    "NllLoss2DBackward0": "cross_entropy",
    "MseLossBackward0": "mse",
    "BinaryCrossEntropyBackward0": "binary_cross_entropy",
    "BinaryCrossEntropyWithLogitsBackward0": "binary_cross_entropy",
    "SmoothL1LossBackward0": "smooth_l1",
    "HuberLossBackward0": "smooth_l1",
    "KlDivBackward0": "kl_divergence",
}
FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "NllLossBackward0": F.nll_loss,
    "NllLoss2DBackward0": F.nll_loss,
    "MseLossBackward0": F.mse_loss,
    "BinaryCrossEntropyBackward0": F.binary_cross_entropy,
    "BinaryCrossEntropyWithLogitsBackward0": F.binary_cross_entropy_with_logits,
    "SmoothL1LossBackward0": F.smooth_l1_loss,
}
REGRESSION = frozenset({"mse", "smooth_l1"})
PASSING = frozenset(
    f"{name}Backward0"
    for name in ("Softmax", "LogSoftmax", "Relu", "Sigmoid", "LogSigmoid", "Tanh", "BinaryCrossEntropyWithLogits")
)
"""Operations that are finite wherever their input is, so that what a layer hands to them was lost before."""
SOFTMAX = "SoftmaxBackward0"
APPLIED = {
    "SoftmaxBackward0": "softmax",
    "SigmoidBackward0": "sigmoid",
    "HardsigmoidBackward0": "hardsigmoid",
    "TanhBackward0": "tanh",
    "ReluBackward0": "relu",
    "SoftplusBackward0": "softplus",
    "ExpBackward0": "exponential",
}
"""Nonlinearities whose range is bounded on one side or both."""
ALIKE = frozenset({"cross_entropy"})
"""Losses of one scale, whatever they are of."""
UNKNOWN = dict.fromkeys(("classes", "targets", "outputs", "value", "phi", "beyond", "factor"))
"""What there is to tell of a loss beside its kind."""
LOOK_AT_MOST = 64
"""Nodes behind the loss in which its kind is looked for."""
WALK_AT_MOST = 100_000
ASK_AT_MOST = 256
"""Nodes behind a finite loss that are asked, in a recorded step, whether their gradient will be finite."""


ADDING = frozenset({"AddBackward0", "SubBackward0", "StackBackward0", "CatBackward0"})
"""What several terms of a loss are put together with."""


def describe_loss(loss: Tensor, names: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Kind of a loss, number of classes, and the moments of its targets and outputs where autograd has kept them.

    ``phi`` is the nonlinearity of bounded range from which the loss function takes its logits, or the numbers that are
    to meet the targets; ``beyond`` the mean square of what the targets of a regression have outside that range.
    ``factor`` is what a regression's predictions are multiplied by, all of them by one constant; 1 where by none.

    ``l1`` and squares written by hand are told by their pattern of operations; of their targets there is nothing to
    tell where the prediction is not known.

    Of a loss that adds several known ones up the kind is ``sum``, and ``terms`` has them one by one, each with the
    layer that gave its prediction; all else is then unknown. Several cross-entropies, as of the words of a sentence,
    are described by one of them.

    Args:
        loss: the loss, its graph still whole.
        names: layer of each parameter, by ``id``.
    """
    terms = [_term(node, names or {}) for node in _terms(loss.grad_fn)]
    known = [term for term in terms if term is not None]
    if len(known) > 1 and not ({term["kind"] for term in known} <= ALIKE):
        return {"kind": "sum", "terms": known} | UNKNOWN
    by_hand = residual_of(loss.grad_fn)
    if by_hand is not None:
        return _described_by_hand(by_hand)
    queue, seen = [loss.grad_fn], 0
    passed: list[str] = []
    while queue and seen < LOOK_AT_MOST:
        node = queue.pop(0)
        if node is None:
            continue
        seen += 1
        name = node.name()
        passed.append(name)
        if name in KINDS:
            return _described(KINDS[name], name, node)
        queue.extend(following for following, _ in node.next_functions)
    return {"kind": _pattern(passed)} | UNKNOWN


def _terms(loss: Any) -> list[Any]:
    """The operations whose results a loss adds up, however each is multiplied by a constant or averaged."""
    found: list[Any] = []
    queue = [loss] if loss is not None else []
    while queue and len(found) < LOOK_AT_MOST:
        node = queue.pop(0)
        following = [each for each, _ in node.next_functions if each is not None]
        is_alone = node.name() in REDUCING | RESHAPES | CASTS and len(following) == 1
        if node.name() in ADDING or is_alone:
            queue.extend(following)
        elif all(node is not other for other in found):
            found.append(node)
    return found


def _term(node: Any, names: Mapping[int, str]) -> dict[str, Any] | None:
    """One known term of a loss; None where it is another."""
    if node.name() in KINDS:
        return _described(KINDS[node.name()], node.name(), node) | {"layer": _giver(_given(node), names)}
    by_hand = residual_of(node)
    if by_hand is None:
        return None
    return _described_by_hand(by_hand) | {"layer": _giver(by_hand.given, names)}


def _giver(node: Any, names: Mapping[int, str]) -> str:
    """The layer whose result this is, but for operations on that alone; empty where several or none come together."""
    while node is not None:
        found = _layer_of(node, names)
        following = [each for each, _ in node.next_functions if each is not None]
        if found or len(following) != 1:
            return found
        (node,) = following
    return ""


def _described(kind: str, name: str, node: Any) -> dict[str, Any]:
    outputs, targets = saved(node, "self"), saved(node, "target")
    classes, value = None, _own_value(name, outputs, targets)
    phi = _applied(name, node)
    beyond = _beyond(phi, targets) if kind in REGRESSION else None
    if name.startswith("NllLoss") and outputs is not None and outputs.dim() >= 1:
        classes = int(outputs.shape[1] if outputs.dim() > 1 else outputs.shape[0])
        targets = outputs = None  # class numbers and log-probabilities have no scale
    return {
        "kind": kind,
        "classes": classes,
        "targets": _moments(targets),
        "outputs": _moments(outputs),
        "value": value,
        "phi": phi,
        "beyond": beyond,
        "factor": _factor(_given(node)) if kind in REGRESSION else None,
    }


def _described_by_hand(error: Residual) -> dict[str, Any]:
    phi = APPLIED.get(error.given.name())
    difference = (error.prediction - error.target).float()
    return {
        "kind": error.kind,
        "classes": None,
        "targets": _moments(error.target),
        "outputs": _moments(error.prediction),
        "value": float((difference.square() if error.kind == "mse" else difference.abs()).mean()),
        "phi": phi,
        "beyond": _beyond(phi, error.target) if error.kind in REGRESSION else None,
        "factor": 1.0,
    }


def _applied(name: str, node: Any) -> str | None:
    """The nonlinearity right before the loss function, where that one asks for logits or for any numbers."""
    given = _given(node)
    if name.startswith("NllLoss"):
        if given is None or given.name() != "LogSoftmaxBackward0":
            return None
        given = _given(given)
    elif name != "BinaryCrossEntropyWithLogitsBackward0" and KINDS[name] not in REGRESSION:
        return None
    return APPLIED.get(given.name()) if given is not None else None


def _given(node: Any) -> Any:
    """The operation whose result a node takes, however it was reshaped or cast on the way."""
    while True:
        node = next((each for each, _ in node.next_functions if each is not None), None)
        if node is None or node.name() not in RESHAPES | CASTS:
            return node


def _factor(node: Any) -> float:
    """Product of the single constants that a result is multiplied by, whatever is added to it."""
    factor = 1.0
    while node is not None and sum(following is not None for following, _ in node.next_functions) == 1:
        name = node.name()
        constant = next((one for side in ("self", "other") if (one := saved(node, side)) is not None), None)
        if name == "MulBackward0" and constant is not None and constant.numel() == 1:
            factor *= float(constant)
        elif name == "DivBackward0" and constant is not None and constant.numel() == 1 and float(constant):
            factor /= float(constant)
        elif name not in ("AddBackward0", "SubBackward0"):
            break
        node = _given(node)
    return factor


@torch.no_grad()
def _beyond(phi: str | None, targets: Tensor | None) -> float | None:
    if phi is None or targets is None or not targets.is_floating_point():
        return None
    low, high = RANGES[phi]
    values = targets.detach().double()
    return float((values - values.clamp(low, high)).square().mean())


def _own_value(name: str, outputs: Tensor | None, targets: Tensor | None) -> float | None:
    """Mean of the loss function over the batch, whatever factor the user put in front and however it was reduced."""
    function = FUNCTIONS.get(name)
    if function is None or outputs is None or targets is None:
        return None
    with torch.no_grad():
        return float(function(outputs.detach().float(), targets.detach()))


def _pattern(names: list[str]) -> str:
    """A loss written by hand: mean or sum, of a square or an absolute value, of a difference."""
    for position, name in enumerate(names[:-1]):
        below = names[position + 1 : position + 3]
        if name == "PowBackward0" and "SubBackward0" in below:
            return "mse"
        if name == "AbsBackward0" and "SubBackward0" in below:
            return "l1"
    return "unknown"


def _moments(tensor: Tensor | None) -> dict[str, float] | None:
    if tensor is None or not measure.measurable(tensor):
        return None
    row = measure.row(tensor)
    return dict(zip(MOMENTS, row.tolist() if isinstance(row, Tensor) else row, strict=True))


@dataclass(frozen=True, slots=True)
class Suspect:
    """Where a forward pass stopped being finite, as far as autograd's saved tensors tell."""

    layer: str
    """The last layer on the way to the fault; empty before the first."""
    operation: str
    """Name of the operation whose input or result is the first that is not finite: ``log``, ``div``."""
    weight: bool
    """The layer's own weight is not finite."""
    data: bool = False
    """What is fed to the first layer is not finite."""
    fault: str = ""
    """What the operation did to operands that were finite: ``logarithm of zero``; empty where that is not known."""
    forward: bool = True
    """False where the value is finite and only the gradient that is sent back is not."""
    risky: tuple[str, ...] = ()
    """Where a weight is lost: operations behind the loss from which a gradient that is not finite may have come."""
    behind_layers: bool = False
    """It stands behind the last layer: in what is computed from the network's output, the loss."""

    @property
    def words(self) -> str:
        """What was seen and where, as a sentence without its full stop."""
        if self.weight or self.data:
            return f"the {'weight' if self.weight else 'input'} of {self.layer} is not finite"
        if self.behind_layers:
            place = f"between {self.layer} and the loss" if self.layer else "in the loss"
        else:
            place = f"after {self.layer}" if self.layer else "before the first layer"
        if self.fault:
            return f"{self.fault}, at {self.operation} {place}"
        return f"first seen at {self.operation} {place}"

    def as_event(self) -> dict[str, Any]:
        """The fields of a run's event."""
        seen = Signal.WEIGHT if self.weight else Signal.INPUT if self.data else Signal.PRE_ACTIVATION
        signal = None if self.behind_layers else str(seen)
        direction = "weight" if self.weight else "loss" if self.behind_layers else "forward"
        located = {"direction": direction, "layer": self.layer, "signal": signal, "words": self.words}
        return located | self.explanation()

    def explanation(self) -> dict[str, Any]:
        """What is known of the operation, for an event that is about it."""
        if self.risky:
            return {"risky": list(self.risky)}
        if self.weight or self.data:
            return {}
        fields = {"operation": self.operation, "fault": self.fault, "after": self.layer}
        return fields | {"place": "loss" if self.behind_layers else "network"}


@torch.no_grad()
def where_not_finite(loss: Tensor, names: dict[int, str]) -> Suspect | None:
    """Walk the graph behind a non-finite loss, earliest operation first, to the first value that is not finite.

    Weights come before everything: where one of them is lost, so is all that is computed with it.

    It costs nothing until it is needed, for it reads what autograd keeps for the backward pass anyway. So it must run
    before that pass frees it.

    Args:
        loss: the loss, its graph still whole.
        names: layer of each parameter, by ``id``.

    Returns:
        None where no saved tensor shows the fault (an operation that saves nothing made it).
    """
    nodes = sorted(_graph(loss, WALK_AT_MOST), key=_age)
    owners = [_layer_of(node, names) for node in nodes]
    for node, owner in zip(nodes, owners, strict=True):
        if any(id(variable) in names and _is_lost(variable) for variable in _variables(node)):
            return Suspect(owner, operation(node), weight=True, risky=tuple(without_slope_somewhere(nodes)))
    used = _used_by_layers(nodes, owners)
    givers = {id(node) for node, owner in zip(nodes, owners, strict=True) if owner}
    layer = ""
    for place, node in enumerate(nodes):
        layer = owners[place] or layer
        fault = fault_of(node)
        if fault is not None or any(map(_is_lost, _kept_by(node))):
            told = fault is not None and node.name() != SOFTMAX  # of which only a masked row is a fault of its own
            if node.name() in PASSING and _source(node) in givers and not told:
                return Suspect(layer, operation(node), weight=False)
            weight = fault is None and any(id(value) in names and _is_lost(value) for value in _kept_by(node))
            is_first_layer = bool(owners[place]) and set(owners[:place]) <= {"", layer}
            data = fault is None and not weight and is_first_layer
            return Suspect(
                layer, operation(node), weight, data=data, fault=fault or "", behind_layers=id(node) not in used
            )
    return None


@torch.no_grad()
def where_slope_not_finite(loss: Tensor, names: dict[int, str]) -> Suspect | None:
    """The operation behind a finite loss whose gradient will not be finite: ``sqrt`` at 0, a masked ``log`` of 0.

    The last one if there are several. No more than the operations nearest to the loss are looked at, for this runs in
    healthy steps too.

    Args:
        loss: the loss, its graph still whole.
        names: layer of each parameter, by ``id``.
    """
    nodes = sorted(_graph(loss, ASK_AT_MOST), key=_age)
    owners = [_layer_of(node, names) for node in nodes]
    used = _used_by_layers(nodes, owners)
    for place in reversed(range(len(nodes))):
        fault = slope_fault_of(nodes[place])
        if fault is not None:
            layer = next((owner for owner in reversed(owners[: place + 1]) if owner), "")
            return Suspect(
                layer,
                operation(nodes[place]),
                weight=False,
                fault=fault,
                forward=False,
                behind_layers=id(nodes[place]) not in used,
            )
    return None


def _used_by_layers(nodes: Sequence[Any], owners: Sequence[str]) -> set[int]:
    """``id`` of each layer's operation and of all from which a layer's input was computed; the rest is the loss."""
    among = {id(node) for node in nodes}
    stack = [node for node, owner in zip(nodes, owners, strict=True) if owner]
    used: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in among and id(node) not in used:
            used.add(id(node))
            stack.extend(following for following, _ in node.next_functions if following is not None)
    return used


def _source(node: Any) -> int:
    """``id`` of the operation whose result a node takes first, however it was reshaped on the way."""
    following = next((each for each, _ in node.next_functions if each is not None), None)
    while following is not None and following.name() in RESHAPES and following.next_functions:
        following = following.next_functions[0][0]
    return id(following)


def _kept_by(node: Any) -> list[Tensor]:
    kept = (saved(node, name.removeprefix("_saved_")) for name in dir(node) if name.startswith("_saved_"))
    return [value for value in kept if value is not None]


def _is_lost(value: Tensor) -> bool:
    return measure.measurable(value) and value.layout is torch.strided and not bool(torch.isfinite(value).all())


def _graph(loss: Tensor, at_most: int) -> list[Any]:
    """The operations behind a loss, those nearest to it first; leaves, which do nothing, are left out."""
    queue: deque[Any] = deque([loss.grad_fn])
    seen: dict[int, Any] = {}
    while queue and len(seen) < at_most:
        node = queue.popleft()
        if node is None or id(node) in seen or hasattr(node, "variable"):
            continue
        seen[id(node)] = node
        queue.extend(following for following, _ in node.next_functions)
    return list(seen.values())


def _age(node: Any) -> int:
    """Creation order; gradient accumulators have no place in it."""
    number = getattr(node, "_sequence_nr", None)
    return int(number()) if number is not None else 0


def _variables(node: Any) -> list[Tensor]:
    found = []
    for following, _ in node.next_functions:
        if following is None:
            continue
        if hasattr(following, "variable"):
            found.append(following.variable)
        elif following.name() in ("TBackward0", "TransposeBackward0"):
            found.extend(_variables(following))
    return found


def _layer_of(node: Any, names: Mapping[int, str]) -> str:
    for variable in _variables(node):
        if id(variable) in names:
            return names[id(variable)]
    return ""
