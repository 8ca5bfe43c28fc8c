"""What a network is, in words that no framework owns."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Architecture", "Layer"]

WEIGHTED = frozenset({"linear", "conv", "recurrent", "attention", "embedding"})


@dataclass(frozen=True, slots=True)
class Layer:
    """One place of the network where signals are measured.

    A layer is a module that owns parameters (kind ``linear``, ``conv``, ``recurrent``, ``attention``, ``embedding``,
    ``norm``, or ``other``), a bare parameter that no module's operation explains (``parameter``), or a sum of a skip
    connection with its branch (``sum``, no parameters).
    """

    name: str
    """As the framework prints it: ``features.0``. Sums are named after the module they stand in: ``layer1.0.add``."""
    kind: str
    type: str
    """The framework's own name of the module or operation: ``Linear``, ``LSTM``, ``add``."""
    parameters: tuple[str, ...] = ()
    """Full names of the parameters it owns."""
    weight_shape: tuple[int, ...] = ()
    """Shape of its main weight, as the framework stores it."""
    fan_in: int | None = None
    fan_out: int | None = None
    activation: str | None = None
    """The nonlinearity φ applied to its output (``relu``, ``sigmoid`` …), None where there is none."""
    norm: str | None = None
    """Name of the norm layer that its output enters before any nonlinearity."""
    dtype: str = "float32"
    trainable: bool = True
    """False where none of its parameters asks for a gradient."""
    tied_to: str | None = None
    """Name of the earlier layer that owns the same weight."""
    calls: int = 1
    """How often it ran in one forward pass; 0 for a layer that never ran."""
    recurrent: bool = False
    """Its output feeds its own later call, or it loops over time inside."""
    inputs: tuple[str, ...] = ()
    """Names of the layers whose signal it reads first; ``""`` stands for the network's input."""
    branch: str | None = None
    """Name of the ``sum`` layer at the end of the residual branch that it stands in; None on the trunk."""
    output: bool = False
    """Its signal is part of what the network returns."""
    gated: bool = False
    """Its φ is a gate: it multiplies another signal of the network (LSTM cells, GLU, squeeze-and-excite)."""

    @property
    def weighted(self) -> bool:
        """Whether it multiplies by a matrix, rather than normalises, scales or adds."""
        return self.kind in WEIGHTED

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The layers of a network in the order in which the signal first reaches them, input first."""

    layers: tuple[Layer, ...]
    model: str = ""
    """Name of the model's class."""
    framework: str = ""
    traced: bool = True
    """False where no forward pass could be followed: order, activations and sums are then unknown."""
    notes: tuple[str, ...] = ()
    """What could not be seen, and why, one sentence each."""
    _positions: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_positions", {layer.name: i for i, layer in enumerate(self.layers)})

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> Layer:
        return self.layers[self._positions[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    @property
    def names(self) -> tuple[str, ...]:
        """Layer names, input first."""
        return tuple(layer.name for layer in self.layers)

    def index(self, name: str) -> int:
        """Column of a layer in every history array."""
        return self._positions[name]

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "framework": self.framework,
            "traced": self.traced,
            "notes": list(self.notes),
            "layers": [layer.to_dict() for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Architecture":
        """Read what ``to_dict`` wrote; fields that this version does not know are left out."""
        known = Layer.__dataclass_fields__.keys()
        layers = []
        for entry in data["layers"]:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
            }
            layers.append(Layer(**{key: value for key, value in fields.items() if key in known}))
        return cls(
            layers=tuple(layers),
            model=data.get("model", ""),
            framework=data.get("framework", ""),
            traced=data.get("traced", True),
            notes=tuple(data.get("notes", ())),
        )
