"""How often the layer that was broken on purpose is the one that is blamed, and how often a healthy one is.

Networks of several kinds are drawn, one hidden layer of each is broken in one of seven ways, and one step is recorded.
*First* is the share of networks whose worst suspect is the broken layer, *told* the share in which it is told as out
of line, *others* the share in which an intact layer is told as well; *false alarms* the share of intact networks, from
the same draws, in which any layer is told.

Usage::

    python benchmarks/fault_injection.py [--nets 60] [--variants]
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

import isometry
from isometry.diagnosis.blame import outliers, suspects
from isometry.history.history import History

BATCH = 8
CLASSES = 10
GAINS = {"relu": 2**0.5, "gelu": 2**0.5, "tanh": 1.0, "sigmoid": 1.0}
"""σ_w of the hidden layers."""
MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


@dataclass(frozen=True)
class Family:
    """A kind of network, and what it reads."""

    name: str
    build: Callable[[str], nn.Module]
    input_shape: tuple[int, ...]
    activations: tuple[str, ...] = ()
    """Those that it is drawn with; the fault's own where empty."""


@dataclass(frozen=True)
class Fault:
    name: str
    activation: str
    inject: Callable[[nn.Module], object]


def drawn(layer: nn.Module, activation: str) -> nn.Module:
    """The layer, with normal weights of the activation's gain and no biases."""
    nn.init.normal_(layer.weight, 0, GAINS[activation] / layer.weight[0].numel() ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


def chain(depth: int, width: int) -> Callable[[str], nn.Module]:
    def build(activation: str) -> nn.Module:
        hidden = [
            module
            for _ in range(depth)
            for module in (drawn(nn.Linear(width, width), activation), MODULES[activation]())
        ]
        return nn.Sequential(*hidden, nn.Linear(width, CLASSES))

    return build


def default_chain(activation: str) -> nn.Module:
    """Of the framework's own initialisation: uniform weights, σ_w = 1 / √3, uniform biases."""
    hidden = [module for _ in range(20) for module in (nn.Linear(64, 64), MODULES[activation]())]
    return nn.Sequential(*hidden, nn.Linear(64, CLASSES))


def glorot_funnel(activation: str) -> nn.Module:
    """Layers that narrow from 256 to 16 units, Glorot's uniform draw."""
    widths = [256, 224, 192, 160, 128, 112, 96, 80, 64, 56, 48, 40, 32, 24, 16]
    layers = [nn.Linear(wide, narrow) for wide, narrow in pairwise(widths)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    hidden = [module for layer in layers for module in (layer, MODULES[activation]())]
    return nn.Sequential(*hidden, nn.Linear(16, CLASSES))


def orthogonal_chain(activation: str) -> nn.Module:
    net = chain(20, 64)(activation)
    for module in list(net)[:-1:2]:
        nn.init.orthogonal_(module.weight, GAINS[activation])
    return net


def pictures(activation: str) -> nn.Module:
    """VGG-like: ten convolutions in stages of growing width, pooling between them."""
    channels, modules = 3, []
    for stage, width in enumerate((16, 24, 32)):
        modules += [nn.MaxPool2d(2)] if stage else []
        for _ in range(4):
            modules += [drawn(nn.Conv2d(channels, width, 3, padding=1), activation), MODULES[activation]()]
            channels = width
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Block(nn.Module):
    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = drawn(nn.Linear(width, 2 * width), activation)
        self.phi = MODULES[activation]()
        self.down = drawn(nn.Linear(2 * width, width), activation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.phi(self.up(self.norm(x))))


def residual(activation: str) -> nn.Module:
    """Pre-norm: ten blocks x + W₂ φ(W₁ norm(x))."""
    return nn.Sequential(*[Block(64, activation) for _ in range(10)], nn.LayerNorm(64), nn.Linear(64, CLASSES))


def rank_one(layer: nn.Module) -> None:
    """The outer product of two normal vectors, as large as the matrix it replaces."""
    old = layer.weight
    new = torch.outer(torch.randn(old.shape[0]), torch.randn(old[0].numel())).view_as(old)
    old.copy_(new * (old.norm() / new.norm()))


FAULTS = (
    Fault("W × 0.5", "relu", lambda layer: layer.weight.mul_(0.5)),
    Fault("W × 0.8, mild", "relu", lambda layer: layer.weight.mul_(0.8)),
    Fault("bias −0.5, mild", "relu", lambda layer: layer.bias.fill_(-0.5)),
    Fault("dead units, bias −2", "relu", lambda layer: layer.bias.fill_(-2.0)),
    Fault("saturated, bias +2", "tanh", lambda layer: layer.bias.fill_(2.0)),
    Fault("W × 4", "tanh", lambda layer: layer.weight.mul_(4.0)),
    Fault("rank-one W", "relu", rank_one),
)
TABLE = Family("20 × 64", chain(20, 64), (64,))
VARIANTS = (
    Family("20 × 32", chain(20, 32), (32,)),
    Family("20 × 256", chain(20, 256), (256,)),
    Family("10 × 64", chain(10, 64), (64,)),
    Family("40 × 64", chain(40, 64), (64,)),
    Family("20 × 64 GELU", chain(20, 64), (64,), ("gelu",)),
    Family("20 × 64 sigmoid", chain(20, 64), (64,), ("sigmoid",)),
    Family("20 × 64 ReLU, default draw", default_chain, (64,), ("relu",)),
    Family("20 × 64 tanh, orthogonal", orthogonal_chain, (64,), ("tanh",)),
    Family("narrowing tanh, Glorot", glorot_funnel, (256,), ("tanh",)),
    Family("12 convolutions", pictures, (3, 16, 16), ("relu",)),
    Family("pre-norm residual", residual, (64,), ("gelu",)),
)


def hidden_layers(net: nn.Module, fault: Fault | None) -> list[str]:
    """All matrices but the head; for faults of the bias those with a nonlinearity behind them, where it is one."""
    matrices = [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][:-1]
    with_bias = fault is not None and "bias" in fault.name
    return [name for name in matrices if not (with_bias and name.endswith("down"))]


def recorded(net: nn.Module, inputs: Tensor, targets: Tensor) -> isometry.Run:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with tempfile.TemporaryDirectory() as folder:
        with isometry.watch(net, optimizer, run=f"{folder}/run", every=1) as watch:
            nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()
        run = watch.run
        columns = {column: run.history[column] for column in run.history.columns}
    return isometry.Run(run.architecture, History.from_arrays(run.history.steps, columns))


def broken_nets(family: Family, fault: Fault | None, activation: str, nets: int) -> Iterator[tuple[isometry.Run, str]]:
    """One step each of so many networks, and the name of the layer that was broken."""
    for seed in range(nets):
        torch.manual_seed(seed)
        net = family.build(activation)
        inputs, targets = torch.randn(BATCH, *family.input_shape), torch.randint(0, CLASSES, (BATCH,))
        layers = hidden_layers(net, fault)
        name = layers[int(torch.randint(0, len(layers), ()))]
        if fault is not None:
            with torch.no_grad():
                fault.inject(net.get_submodule(name))
        yield recorded(net, inputs, targets), name


def row(family: Family, fault: Fault, activation: str, nets: int) -> str:
    first = told = others = 0
    for run, name in broken_nets(family, fault, activation, nets):
        found = outliers(run)
        blamed = {outlier.layer for outlier in found}
        first += [one.layer for one in found or suspects(run)][:1] == [name]
        told += name in blamed
        others += bool(blamed - {name})
    shares = " | ".join(f"{count / nets:.2f}" for count in (first, told, others))
    return f"| {family.name} | {activation} | {fault.name} | {shares} | |"


def healthy_row(family: Family, activation: str, nets: int) -> str:
    alarms = sum(bool(outliers(run)) for run, _ in broken_nets(family, None, activation, nets))
    return f"| {family.name} | {activation} | none | | | | {alarms / nets:.2f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nets", type=int, default=60, help="networks for each fault")
    parser.add_argument("--variants", action="store_true", help="other widths, depths, φ and kinds of network too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | φ | fault | first | told | others | false alarms |\n|---|---|---|---|---|---|---|")
    for family in (TABLE, *VARIANTS) if arguments.variants else (TABLE,):
        activations = family.activations or tuple(dict.fromkeys(fault.activation for fault in FAULTS))
        for activation in activations:
            print(healthy_row(family, activation, arguments.nets), flush=True)
        for fault in FAULTS:
            for activation in family.activations or (fault.activation,):
                print(row(family, fault, activation, arguments.nets), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
