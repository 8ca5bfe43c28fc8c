"""What isometry asks of an adapter: the same few names in every framework's folder.

It stands here and not in ``network``, because a watch hands out a ``Run``, and only rooms above ``history`` know runs.
"""

import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

from isometry.errors import UnsupportedModel
from isometry.history.history import Floats
from isometry.history.inspection import Drawn, JacobianFacts
from isometry.history.run import Run
from isometry.network.edits import Edit, NetworkEdit
from isometry.network.experiment import Experiment
from isometry.network.trial import Trainer

__all__ = [
    "FRAMEWORKS",
    "Applied",
    "Capture",
    "Framework",
    "Inspector",
    "Treatment",
    "Watch",
    "adapter_of",
    "load_adapter",
    "loaded_adapter",
]

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

    @property
    def why_unrecorded(self) -> str:
        """Why nothing was recorded, and what to do; empty where nothing was there to be recorded."""

    def log(self, **metrics: float) -> None:
        """Keep named numbers of the present step."""

    def close(self, ending: str = "finished") -> None:
        """Take every hook off and finish the files."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Capture(Protocol):
    """A training that is followed until its first step. It leaves the script there, as ``sys.exit()`` does."""

    swallowed: Callable[[], None] | None
    """Called in the script's own frames where it cannot be left so, because it catches whatever is raised."""

    @property
    def captured(self) -> Any:
        """What ``api.check_captured`` takes; None if there was no step."""

    @property
    def trouble(self) -> str | None:
        """Why nothing could be captured although there was a step."""

    @property
    def is_reached(self) -> bool:
        """The script is not needed any more, with or without success."""

    def close(self, ending: str = "finished") -> None:
        """Take every hook off."""


class Treatment(Protocol):
    """Changes to the training of this process. Where it must, it leaves the script as ``sys.exit()`` does."""

    trouble: str | None
    """Why a change could not be made, once that is known."""
    steps: int
    """Steps that the training has taken."""
    cut: bool
    """The script was left because it had taken all its steps, or all its time."""

    @property
    def is_reached(self) -> bool:
        """The script was left by the treatment."""

    def close(self, ending: str = "finished") -> None:
        """Take every hook off."""


class Applied(Protocol):
    """Changes that were made to a live model and its optimiser."""

    parameters: tuple[str, ...]
    """Names of the parameters that came with them. The optimiser trains them."""
    left_out: tuple[str, ...]
    """What was not possible for single layers, one sentence each."""

    def undo(self) -> None:
        """Take them back; weights that were drawn anew get the values that they had."""


class Inspector(Protocol):
    """A copy of a model before its first step, with one batch."""

    def measure(self) -> Run:
        """One forward and backward pass of the network as it is."""

    def as_it_is(self) -> Drawn:
        """The sizes of its signals, on the samples that ``draw`` uses; after ``measure``."""

    def draw(
        self, nets: int, *, edits: Sequence[NetworkEdit] = (), seconds: float = math.inf, fewest: int = 3
    ) -> Drawn:
        """The same pass in networks whose weights are drawn anew; after ``measure``."""

    def jacobian(self) -> JacobianFacts:
        """How small changes of the input come out."""

    def scales(self) -> tuple[Floats, Floats, tuple[str, ...]]:
        """σ_w, σ_b and the law of the weights of each layer."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a prediction does not cover."""


class Framework(Protocol):
    """The module of one adapter."""

    def inspect(self, model: Any, batch: Any, loss_fn: Any = None, *, seed: int = 0) -> Inspector:
        """An inspector of a model and a batch of training data."""

    def inspect_captured(self, captured: Any, *, seed: int = 0) -> Inspector:
        """An inspector of what ``capturing`` came upon."""

    def inspect_experiment(self, experiment: Experiment, *, seed: int = 0) -> Inspector:
        """An inspector of the first step of an experiment."""

    def trainer(self, experiment: Experiment) -> Trainer:
        """Who trains an experiment with changes."""

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

    def apply(
        self,
        edits: Sequence[Edit],
        model: Any,
        optimizer: Any = None,
        *,
        batch: Any = None,
        dry_run: bool = False,
        seed: int = 0,
        keep: bool = False,
    ) -> Applied:
        """Change a live model and its optimiser."""

    def treating(
        self,
        edits: Sequence[Edit],
        *,
        trial: int = 0,
        steps: int | None = None,
        seconds: float | None = None,
        inputs: Path | None = None,
    ) -> Treatment:
        """Change whatever this process trains."""

    def capturing(self) -> Capture:
        """Follow this process until the first training step of any model in it."""


def load_adapter(framework: str) -> Framework:
    """The adapter of a framework by the name of its root module. It imports that framework."""
    return cast(Framework, importlib.import_module(f"isometry.adapters.{framework}"))


def loaded_adapter() -> Framework:
    """The adapter of the framework that this process has imported; that of the first one if none was.

    An experiment's functions do not say what they are made for, but they have imported it.
    """
    return load_adapter(next((name for name in FRAMEWORKS if name in sys.modules), FRAMEWORKS[0]))


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
        f"A {kind} was given, but a model of one of these frameworks is needed: {', '.join(FRAMEWORKS)}. "
        "Pass the model object itself (for PyTorch a torch.nn.Module), not its class, its parameters or a function."
    )
