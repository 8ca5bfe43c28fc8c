"""What isometry asks of an adapter: the same few names in every framework's folder.

It stands here and not in ``network``, because a watch hands out a ``Run``, and only rooms above ``history`` know runs.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

from isometry.errors import UnsupportedModel
from isometry.history.run import Run

__all__ = ["FRAMEWORKS", "Framework", "Watch", "adapter_of", "load_adapter"]

FRAMEWORKS = ("torch",)
"""Root modules of the frameworks that have an adapter; the folder beside this file bears the same name."""


class Watch(Protocol):
    """A recording that is going on."""

    @property
    def run(self) -> Run:
        """What has been recorded, opened."""

    @property
    def folder(self) -> Path:
        """Where it is kept."""

    @property
    def recorded_anything(self) -> bool:
        """False as long as no training step was seen."""

    def log(self, **metrics: float) -> None:
        """Keep named numbers of the present step."""

    def close(self, ending: str = "finished") -> None:
        """Take every hook off and finish the files."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Framework(Protocol):
    """The module of one adapter."""

    def watch(
        self,
        model: Any,
        optimizer: Any = None,
        *,
        run: str | Path | None = None,
        budget: float = 0.01,
        every: int | None = None,
        signals: Sequence[str] | None = None,
    ) -> Watch:
        """Watch one model until it is closed."""

    def watch_process(
        self,
        *,
        run: str | Path,
        budget: float = 0.01,
        every: int | None = None,
        signals: Sequence[str] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Watch:
        """Watch whatever model this process trains."""


def load_adapter(framework: str) -> Framework:
    """The adapter of a framework by the name of its root module. It imports that framework."""
    return cast(Framework, importlib.import_module(f"isometry.adapters.{framework}"))


def adapter_of(model: object) -> Framework:
    """The adapter of the framework that the model's class comes from.

    The first class in the model's method-resolution order whose root module is a known framework decides, so the
    framework is loaded already; none is ever imported on suspicion.

    Raises:
        UnsupportedModel: no class among its ancestors belongs to a known framework.
    """
    among = list(model.values()) if isinstance(model, Mapping) else model
    if isinstance(among, list | tuple) and among:  # several models: the first decides
        return adapter_of(among[0])
    for ancestor in type(model).__mro__:
        root = ancestor.__module__.partition(".")[0]
        if root in FRAMEWORKS:
            return load_adapter(root)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise UnsupportedModel(
        f"A {kind} was given to watch, but a model of one of these frameworks is needed: {', '.join(FRAMEWORKS)}. "
        "Pass the model object itself (for PyTorch a torch.nn.Module), not its class, its parameters or a function."
    )
