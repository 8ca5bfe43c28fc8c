"""The places of a model where signals are measured: which module owns which parameter, before anything has run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from isometry.network.architecture import Architecture, Layer

__all__ = ["Site", "Sites"]

KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((nn.Linear, nn.Bilinear), "linear"),
    ((nn.modules.conv._ConvNd,), "conv"),
    ((nn.RNNBase, nn.RNNCellBase), "recurrent"),
    ((nn.MultiheadAttention,), "attention"),
    ((nn.Embedding, nn.EmbeddingBag), "embedding"),
    ((nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), "norm"),
)

MATRIX_OPERATIONS = {
    "linear": "linear",
    "bilinear": "linear",
    "addmm": "linear",
    "addbmm": "linear",
    "baddbmm": "linear",
    "matmul": "linear",
    "__matmul__": "linear",
    "__rmatmul__": "linear",
    "mm": "linear",
    "bmm": "linear",
    "mv": "linear",
    "grouped_mm": "linear",
    "_grouped_mm": "linear",
    "einsum": "linear",
    "tensordot": "linear",
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "conv_transpose1d": "conv",
    "conv_transpose2d": "conv",
    "conv_transpose3d": "conv",
    "embedding": "embedding",
    "embedding_bag": "embedding",
    "multi_head_attention_forward": "attention",
    "lstm": "recurrent",
    "gru": "recurrent",
    "rnn_tanh": "recurrent",
    "rnn_relu": "recurrent",
    "lstm_cell": "recurrent",
    "gru_cell": "recurrent",
    "rnn_tanh_cell": "recurrent",
    "rnn_relu_cell": "recurrent",
}
"""Operations that multiply by a weight, and the kind of layer they make of a module that torch does not know."""

NORM_OPERATIONS = frozenset({"batch_norm", "instance_norm", "layer_norm", "group_norm", "rms_norm"})


@dataclass(eq=False, slots=True)
class Site:
    """A layer in the making: what is known of it grows while forward passes are followed."""

    name: str
    kind: str
    type: str
    module: nn.Module | None = None
    parameters: dict[str, Tensor] = field(default_factory=dict)
    activation: str | None = None
    norm: str | None = None
    tied_to: str | None = None
    order: int | None = None
    """Position of its first run; None while it never ran."""
    calls: int = 0
    """Runs in the present forward pass."""
    most_calls: int = 0
    recurrent: bool = False
    inputs: tuple[str, ...] = ()
    branch: str | None = None
    output: bool = False
    gated: bool = False
    ran_with_graph: bool = False
    cut: bool = False
    """Its signal went through ``detach`` or ``.data`` somewhere."""
    readers: "list[Site] | None" = None
    """Layers that see its values, noted as long as no gradient has come back."""
    heard: bool = False
    """A gradient has come back to its output."""

    @property
    def weights(self) -> list[Tensor]:
        """Its matrices; its scale where it has none; never its biases."""
        matrices = [
            p for name, p in self.parameters.items() if p.dim() >= 2 and not _is_bias(name) and not _is_length(name)
        ]
        return matrices or [p for name, p in self.parameters.items() if not _is_bias(name)]

    @property
    def unit_dimension(self) -> int:
        """Dimension of its output that counts the units."""
        return 1 if self.kind == "conv" or self._norm_of_channels else -1

    @property
    def _norm_of_channels(self) -> bool:
        return isinstance(self.module, nn.modules.batchnorm._NormBase | nn.GroupNorm)

    def layer(self) -> Layer:
        """What is known of it by now."""
        weights = self.weights
        shape = tuple(weights[0].shape) if weights else ()
        fan_in, fan_out = _fans(self, shape)
        tensors = list(self.parameters.values())
        return Layer(
            name=self.name,
            kind=self.kind,
            type=self.type,
            parameters=tuple(self.parameters),
            weight_shape=shape,
            fan_in=fan_in,
            fan_out=fan_out,
            activation=self.activation,
            norm=self.norm,
            dtype=str(tensors[0].dtype).removeprefix("torch.") if tensors else "float32",
            trainable=any(p.requires_grad for p in tensors) or not tensors,
            tied_to=self.tied_to,
            calls=self.most_calls,
            recurrent=self.recurrent or self.kind == "recurrent",
            inputs=self.inputs,
            branch=self.branch,
            output=self.output,
            gated=self.gated,
        )


def _is_bias(name: str) -> bool:
    return "bias" in name.rpartition(".")[2]


def _is_length(name: str) -> bool:
    """Of ``weight_norm``: the lengths of the rows, which stand apart from their directions."""
    return name.endswith((".weight_g", "parametrizations.weight.original0")) or name == "weight_g"


def _fans(site: Site, shape: tuple[int, ...]) -> tuple[int | None, int | None]:
    """Incoming and outgoing connections of a unit, from the shape of the weight."""
    module = site.module
    if len(shape) < 2 or site.kind in ("norm", "embedding", "parameter"):
        return None, None
    if isinstance(module, nn.modules.conv._ConvNd):
        field_size = 1
        for size in module.kernel_size:
            field_size *= size
        return field_size * module.in_channels // module.groups, field_size * module.out_channels // module.groups
    if site.type == "Conv1D":  # transformers' name for a linear layer stored as (inputs, outputs)
        return shape[0], shape[1]
    receptive = 1
    for size in shape[2:]:
        receptive *= size
    return shape[1] * receptive, shape[0] * receptive


def kind_of(module: nn.Module) -> str:
    """What a module does, by its class; ``other`` where only its run can tell."""
    for types, kind in KINDS:
        if isinstance(module, types):
            return kind
    return "norm" if "norm" in type(module).__name__.lower() else "other"


class Sites:
    """All sites of the watched models, found by module and by parameter."""

    def __init__(self) -> None:
        self.all: list[Site] = []
        self.models: dict[str, nn.Module] = {}
        self.module_names: dict[int, str] = {}
        self.of_module: dict[int, Site] = {}
        self.of_parameter: dict[int, list[Site]] = {}
        self.parameter_names: dict[int, str] = {}
        self.sums: dict[tuple[str, frozenset[str]], Site] = {}
        self._ran = 0

    def add(self, model: nn.Module, prefix: str = "") -> None:
        """Take in every module and parameter of a model; names get ``prefix`` in front."""
        self.models[prefix] = model
        absorbed: set[int] = set()
        for path, module in model.named_modules(remove_duplicate=True):
            name = _join(prefix, path)
            if id(module) in self.module_names:
                continue
            self.module_names[id(module)] = name
            if id(module) in absorbed:
                continue
            if isinstance(module, nn.MultiheadAttention):  # reads its child's weight without calling it
                absorbed.add(id(module.out_proj))
                self._add_module(name, module, dict(module.named_parameters()))
            else:
                self._add_module(name, module, dict(_own_parameters(module, absorbed)))
        self._name_parameters(model, prefix)

    def _name_parameters(self, model: nn.Module, prefix: str) -> None:
        for path, parameter in model.named_parameters(remove_duplicate=False):
            self.parameter_names.setdefault(id(parameter), _join(prefix, path))

    def _add_module(self, name: str, module: nn.Module, own: dict[str, Tensor]) -> None:
        if not own:
            return
        known = kind_of(module)
        composed = known == "other" and any(True for child in module.children() if not _is_parametrization(child))
        if composed:
            for path, parameter in own.items():
                full = _join(name, path)
                self._add(Site(full, "parameter", "Parameter", None, {full: parameter}))
            return
        site = Site(
            name or type(module).__name__,
            known,
            type(module).__name__,
            module,
            {_join(name, path): parameter for path, parameter in own.items()},
        )
        self.of_module[id(module)] = site
        self._add(site)

    def _add(self, site: Site) -> None:
        for parameter in site.parameters.values():
            self.of_parameter.setdefault(id(parameter), []).append(site)
        self.all.append(site)

    def refresh(self) -> None:
        """Find parameters that have been replaced since; a cast with ``.to`` keeps them, an assignment does not."""
        for site in self.all:
            if site.module is None:
                continue
            for path, parameter in site.module.named_parameters():
                if isinstance(parameter, nn.Parameter) and id(parameter) not in self.of_parameter:
                    name = _join(site.name, path)
                    site.parameters[name] = parameter
                    self.of_parameter[id(parameter)] = [site]
                    self.parameter_names[id(parameter)] = name

    def rename(self, old: str, new: str) -> None:
        """Put ``new`` in front of the names of a model that was the only one so far."""
        model = self.models.pop(old)
        self.models[new] = model
        names = {site.name: _join(new, site.name) for site in self.all}
        for site in self.all:
            site.name = names[site.name]
            site.parameters = {_join(new, name): parameter for name, parameter in site.parameters.items()}
            site.norm, site.branch, site.tied_to = (
                names.get(other, other) if other else other for other in (site.norm, site.branch, site.tied_to)
            )
            site.inputs = tuple(names.get(other, other) for other in site.inputs)
        self.module_names = {key: _join(new, name) for key, name in self.module_names.items()}
        self.parameter_names = {key: _join(new, name) for key, name in self.parameter_names.items()}
        self.sums = {(_join(new, at), frozenset(names[n] for n in among)): s for (at, among), s in self.sums.items()}

    def sum_at(self, module_name: str, branch: list[Site]) -> Site:
        """The site of the addition that ends a residual branch, made on first sight."""
        key = (module_name, frozenset(site.name for site in branch))
        if key not in self.sums:
            base = _join(module_name, "add")
            taken = {site.name for site in self.all}
            name, count = base, 0
            while name in taken:
                count += 1
                name = f"{base}_{count}"
            self.sums[key] = site = Site(name, "sum", "add")
            self.all.append(site)
        return self.sums[key]

    def runs(self, site: Site) -> None:
        """Note that a site has run in this pass."""
        site.calls += 1
        site.most_calls = max(site.most_calls, site.calls)
        if site.order is None:
            site.order = self._ran
            self._ran += 1

    def in_order(self) -> list[Site]:
        """Those that ran in the order of their first run, then the others as the model defines them.

        What never ran and only lends its parameters to layers that do is left out: the ``shared`` embedding of an
        encoder and a decoder, a bias registered twice.
        """
        shown = [site for site in self.all if site.order is not None or not self._only_lends(site)]
        return sorted(shown, key=lambda site: self._ran if site.order is None else site.order)

    def _only_lends(self, site: Site) -> bool:
        owners = [self.of_parameter[id(parameter)] for parameter in site.parameters.values()]
        return bool(owners) and all(any(other.order is not None for other in others) for others in owners)

    def _tie(self) -> None:
        """Name, for every layer that shares a matrix, the layer that uses it first."""
        ran = self.in_order()
        position = {site: index for index, site in enumerate(ran)}
        for site in ran:
            owners = [self.of_parameter[id(p)] for p in site.parameters.values() if p.dim() >= 2]
            earlier = [other for others in owners for other in others if position.get(other, len(ran)) < position[site]]
            site.tied_to = min(earlier, key=position.__getitem__).name if earlier else None

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter once, with its full name."""
        seen: set[int] = set()
        for site in self.all:
            for parameter in site.parameters.values():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield self.parameter_names.get(id(parameter), site.name), parameter

    def architecture(self, notes: tuple[str, ...] = ()) -> Architecture:
        """What is known of the models by now."""
        self._tie()
        return Architecture(
            layers=tuple(site.layer() for site in self.in_order()),
            model=", ".join(type(model).__name__ for model in self.models.values()),
            framework=f"torch {torch.__version__}",
            traced=any(site.order is not None for site in self.all),
            notes=notes,
        )


def _is_parametrization(module: nn.Module) -> bool:
    return type(module).__name__ in ("ModuleDict", "ParametrizationList") and all(
        "parametriz" in type(child).__module__ for child in module.children()
    )


def _own_parameters(module: nn.Module, absorbed: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Its direct parameters, and those of its parametrizations (``weight_norm``, ``spectral_norm``)."""
    yield from module.named_parameters(recurse=False)
    container = dict(module.named_children()).get("parametrizations")
    if container is not None:
        for descendant in container.modules():
            absorbed.add(id(descendant))
        for path, parameter in container.named_parameters():
            yield f"parametrizations.{path}", parameter


def _join(prefix: str, path: str) -> str:
    return f"{prefix}.{path}" if prefix and path else prefix or path


def models_by_prefix(
    models: nn.Module | Mapping[str, nn.Module] | Sequence[nn.Module],
) -> dict[str, nn.Module]:
    """One model keeps its own names; several get their key, or their class's name, in front."""
    if isinstance(models, nn.Module):
        return {"": models}
    if isinstance(models, Mapping):
        return dict(models)
    result: dict[str, nn.Module] = {}
    for model in models:
        name, count = type(model).__name__, 1
        while name in result:
            count += 1
            name = f"{type(model).__name__}_{count}"
        result[name] = model
    return result
