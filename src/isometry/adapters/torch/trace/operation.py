"""One operation of a forward pass, the tensors that it takes and gives, and where they come from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from isometry.adapters.torch.nonlinearity import Nonlinearity
from isometry.adapters.torch.sites import Site

__all__ = ["NOWHERE", "Operation", "Origin", "first_of", "layers_of", "leaves_of", "tensors_among"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor comes from."""

    site: Site | None = None
    """The layer whose signal it carries on, through reshaping, dropout, pooling and the like."""
    exact: str = ""
    """``z`` or ``h`` where it is that very signal of the site."""
    activated: bool = False
    """Whether the site's φ has been applied."""
    past: int = 0
    """The runs of layers (and the inputs) that it depends on, one bit each."""
    mixed: tuple[Site, ...] = ()
    """The layers whose signals meet in it, where they are several."""

    @property
    def sources(self) -> tuple[Site, ...]:
        """The layers whose signal it carries on, one or several."""
        return self.mixed or (() if self.site is None else (self.site,))


NOWHERE = Origin()


class Operation:
    """One call of a torch function, with what was found out before it."""

    __slots__ = (
        "args", "greatest", "kwargs", "name", "nonlinearity", "origins", "reader", "site", "slope", "tensors",
    )  # fmt: skip

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]) -> None:
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.tensors = tensors
        self.site: Site | None = None
        self.reader: Site | None = None
        self.origins: list[Origin] = []
        self.nonlinearity: Nonlinearity | None = None
        self.slope: Tensor | None = None
        self.greatest: Tensor | None = None


def tensors_among(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Tensors among the arguments, and one level inside lists and tuples."""
    found: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(item for item in value if isinstance(item, Tensor))
    return found


def first_of(result: Any) -> Tensor | None:
    """The result, or the first of several; None where it is no tensor."""
    if isinstance(result, Tensor):
        return result
    if isinstance(result, list | tuple) and result and isinstance(result[0], Tensor):
        return result[0]
    return None


def leaves_of(result: Any) -> list[Tensor]:
    """All tensors of a result."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, list | tuple):
        return [item for item in result if isinstance(item, Tensor)]
    return []


def layers_of(origins: Iterable[Origin]) -> tuple[str, ...]:
    """Names of the layers that these signals come from; the empty name for the network's input."""
    return tuple(dict.fromkeys(name for origin in origins for name in _layers_of(origin)))


def _layers_of(origin: Origin) -> tuple[str, ...]:
    return tuple(site.name for site in origin.sources) or ("",)
