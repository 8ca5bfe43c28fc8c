"""Residual branches that begin at 0 or small: which matrices and multipliers that takes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isometry.adapters.torch.passes import Call, follow
from isometry.adapters.torch.recording import tensors_in
from isometry.adapters.torch.trace import PRODUCTS
from isometry.errors import CannotEdit
from isometry.network.architecture import Architecture, Layer
from isometry.network.nonlinearity import SLOPES, slope

__all__ = ["Branch", "branches_of", "fixup_factors", "multipliers"]


class Branch:
    """One residual branch, f of x + f(x). Where x is projected as well, the longer way is the branch."""

    def __init__(self, architecture: Architecture, total: Layer) -> None:
        self.name = total.name
        inside: dict[str, int] = {}  # the longest chain of matrices from the fork to here
        for layer in architecture:
            before = [inside[name] for name in layer.inputs if name in inside]
            member = layer.branch == total.name or (layer.kind == "parameter" and before)
            if member and layer.name != total.name:
                inside[layer.name] = max(before, default=0) + layer.weighted
        ends = [name for name in total.inputs if name in inside]
        self.length = max((inside[name] for name in ends), default=0)
        """Matrices one after the other."""
        self._end = next((name for name in ends if inside[name] == self.length), None)
        self._inside = inside
        self._architecture = architecture

    @property
    def layers(self) -> list[Layer]:
        """Its layers, the one nearest to the sum first."""
        return list(self._back(beyond_matrices=True))

    @property
    def last(self) -> list[Layer]:
        """From the sum back to the first matrices on the way, these included."""
        return list(self._back(beyond_matrices=False))

    def _back(self, *, beyond_matrices: bool) -> Iterator[Layer]:
        waiting = [self._end] if self._end is not None else []
        seen = set(waiting)
        while waiting:
            layer = self._architecture[waiting.pop(0)]
            yield layer
            if beyond_matrices or not layer.weighted:
                further = [name for name in layer.inputs if name in self._inside and name not in seen]
                waiting += further
                seen.update(further)


def branches_of(architecture: Architecture, scheme: str) -> list[Branch]:
    """Every residual branch of a network.

    Raises:
        CannotEdit: there is none.
    """
    found = [Branch(architecture, layer) for layer in architecture if layer.kind == "sum"]
    if not found:
        raise CannotEdit(
            f"{scheme} sets residual branches, and {architecture.model} showed no sum of a skip connection with one. "
            "Choose he, orthogonal or lsuv for a plain network."
        )
    return found


# ------------------------------------------------------------------------- Fixup


def fixup_factors(architecture: Architecture) -> dict[str, float]:
    """What each layer's matrix is multiplied by: L^(−1 / (2m − 2)) in branches, 0 at their ends and in the head.

    The biases and multipliers of one number that the source adds to the model are not added here.

    Raises:
        CannotEdit: a branch has a norm, is made of something other than linear layers and convolutions, or ends in a φ
            that passes nothing back at 0; or the head shares its matrix.

    Sources: Zhang et al. 2019, section 3.
    """
    branches = branches_of(architecture, "fixup")
    factors: dict[str, float] = {}
    for branch in branches:
        _require_plain(branch)
        for layer in branch.layers:
            if layer.weighted and branch.length > 1:
                factors[layer.name] = float(len(branches) ** (-1 / (2 * branch.length - 2)))
        factors |= {layer.name: 0.0 for layer in branch.last if layer.weighted}
    for layer in architecture:
        if layer.output and layer.weighted:
            if any(layer.name == other.tied_to for other in architecture) or layer.tied_to:
                raise CannotEdit(
                    f"`{layer.name}`: fixup begins with a head of 0, but another layer has the same weight. Untie "
                    "them, or choose he or lsuv."
                )
            factors[layer.name] = 0.0
    return factors


def _require_plain(branch: Branch) -> None:
    norms = [layer.name for layer in branch.layers if layer.kind == "norm"]
    if norms:
        raise CannotEdit(
            f"`{branch.name}`: its branch is normalised by `{norms[0]}`, and fixup is for branches without norms: it "
            "takes their place. Remove the norms, or set their last scale to 0 with the scheme rezero."
        )
    others = [layer for layer in branch.layers if layer.weighted and layer.kind not in ("linear", "conv")]
    if others or not branch.length:
        what = f"`{others[0].name}`, a {others[0].type}" if others else "no linear layer or convolution"
        raise CannotEdit(
            f"`{branch.name}`: its branch holds {what}; fixup knows branches of linear layers and convolutions. Choose "
            "rezero, if the branch has a multiplier, or lsuv."
        )
    dead = next((layer for layer in branch.last if _blocks_at_zero(layer)), None)
    if dead is not None:
        raise CannotEdit(
            f"`{dead.name}`: its {dead.activation} stands between the branch and the sum `{branch.name}`, and its "
            "slope at 0 is 0: a branch that begins at 0 would never learn. Move it to the front of the branch or "
            "behind the sum."
        )


def _blocks_at_zero(layer: Layer) -> bool:
    return layer.activation in SLOPES and float(slope(layer.activation, 0.0)) == 0


# ------------------------------------------------------------- ReZero and SkipInit


def multipliers(model: nn.Module, call: Call, architecture: Architecture, scheme: str, seed: int) -> list[Tensor]:
    """For each residual branch the parameter that multiplies all of its output.

    Raises:
        CannotEdit: a branch has none, or one that a φ would keep at 0.

    Sources: Goyal et al. 2017, section 5.1, for the scale of the last norm; Bachlechner et al. 2020; De & Smith 2020.
    """
    products = _Products()
    follow(model, call, products, seed)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: list[Tensor] = []
    missing = []
    for branch in branches_of(architecture, scheme):
        multiplier = _multiplier(branch, parameters, products.factors)
        if multiplier is None:
            missing.append(branch.name)
        else:
            found.append(multiplier)
    if missing:
        names = ", ".join(f"`{name}`" for name in missing[:4]) + (f" and {len(missing) - 4} more" * (len(missing) > 4))
        raise CannotEdit(
            f"{names}: no trainable parameter of its own multiplies the branch just before the sum. {scheme} sets one "
            "to 0: the scale of a norm at the end of the branch, with no ReLU behind it, or `self.alpha` of "
            "x + self.alpha * f(x), with `self.alpha = nn.Parameter(torch.zeros(()))`. Add one to each branch."
        )
    return found


def _multiplier(branch: Branch, parameters: Mapping[str, Tensor], factors: set[int]) -> Tensor | None:
    for layer in branch.last:
        if layer.weighted or _blocks_at_zero(layer):
            return None
        own = {name: parameters[name] for name in layer.parameters if parameters[name].requires_grad}
        scales = [
            parameter
            for name, parameter in own.items()
            if id(parameter) in factors or (layer.kind == "norm" and "bias" not in name.rpartition(".")[2])
        ]
        if scales:  # of several in one module, as in a ParameterList, it is unknown which belongs to which branch
            return scales[0] if len(scales) == 1 else None
    return None


class _Products(TorchFunctionMode):
    """Notes the parameters, or views of them, that something is multiplied by."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in PRODUCTS:
            self.factors |= set(_parameters(tensors_in([args, kwargs])))
        return func(*args, **kwargs)


def _parameters(tensors: Iterable[Tensor]) -> Iterator[int]:
    with torch._C.DisableTorchFunction():
        for tensor in tensors:
            source = tensor if tensor._base is None else tensor._base
            if isinstance(source, nn.Parameter):
                yield id(source)
