"""Changes to φ, norms and skips of a live model: by other modules where it can be, on the way where it cannot."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from isometry.adapters.torch.alteration import groups_of
from isometry.adapters.torch.gated import GatedSkip
from isometry.adapters.torch.inserted import BATCH_NORMS, Activated, activation_module, norm_over_units
from isometry.adapters.torch.passes import Call
from isometry.adapters.torch.places import Activation, Places, Step, look
from isometry.adapters.torch.rewiring import Address, Change, Notes, Rewired, noting
from isometry.adapters.torch.sites import kind_of
from isometry.adapters.torch.wishes import Structural, Wish
from isometry.errors import CannotEdit, IsometryError
from isometry.network.edits import AddSkip, InsertNorm, NetworkEdit, ReplaceActivation

__all__ = ["Restructuring", "Undo", "require_somewhere"]

HOLDERS = frozenset({"linear", "conv", "embedding", "norm"})
"""Kinds of torch's own layers that stay what they are when a norm is put beside their weight."""
SIDES = {"before": "norm", "after": "norm_after"}
"""Where an ``Activated`` has its norms."""
TOLD = 4
"""Layers that a message names one by one."""

Undo = list[Callable[[], object]]
"""What puts everything back, if it is done last things first."""


def require_somewhere(edit: NetworkEdit, done: int, reasons: Sequence[str]) -> None:
    """Refuse a change that can be made at none of its layers.

    Args:
        edit: the change.
        done: at how many it can be made.
        reasons: why not, at the others.
    """
    if not done:
        more = f" {len(reasons) - TOLD} more layers are alike." if len(reasons) > TOLD else ""
        why = " ".join(reasons[:TOLD]) if reasons else "No layer is named."
        raise CannotEdit(f"{type(edit).__name__} is possible at none of its layers. {why}{more}")


class Restructuring:
    """One round of changes to φ, norms and skips."""

    def __init__(self, model: nn.Module, call: Call, undo: Undo, *, keep: bool = False) -> None:
        self._model, self._call, self._undo, self._keep = model, call, undo, keep
        self._wishes: dict[str, Wish] = {}
        self._asked: dict[int, set[str]] = {}
        """The layers that an edit, by its id, reaches as far as was seen beforehand."""
        self._rewired_before: set[str] = set()
        self._changed_before: set[str] = set()
        self._norms: dict[tuple[int | None, str], nn.Module] = {}
        """Norms of earlier edits, by the module of their φ and the side."""
        self._skips: dict[str, nn.Module] = {}
        """Gated skips of earlier edits, by their layer."""
        self._writing: dict[tuple[int, Address], Rewired] = {}
        """Changes of a φ that was computed in place."""

    def carry_out(self, edits: Sequence[Structural]) -> list[str]:
        """Make them; the sentences say where that was not possible."""
        self._take_back({name for edit in edits for name in edit.layers})
        places = look(self._model, self._call)
        told = [sentence for edit in edits for sentence in self._plan(places, edit)]
        places = look(self._model, self._call) if self._dissolve(places) else places
        done, places = self._swap_all(places)
        impossible = self._rewire_all(places, [layer for layer in self._wishes if layer not in done])
        told += self._refused(edits, impossible)
        self._require_met()
        return told

    def _swap_all(self, places: Places) -> tuple[set[str], Places]:
        """Put other modules where that is possible; the layers that have all they wish for, and what a pass shows."""
        kept: set[int] = set()
        while True:
            before = len(self._undo)
            swapped = [(old, self._swap(places, old, one)) for old, one in self._swappable(places, kept)]
            seen = self._look_again() if swapped else places
            unreached = {id(old) for old, new in swapped if not seen.calls_of(new)}
            if not unreached:
                return {one.layer for old, _ in swapped for one in places.activations if one.module is old}, seen
            while len(self._undo) > before:
                self._undo.pop()()
            kept |= unreached  # somebody keeps the old module elsewhere too, and calls it there

    def _rewire_all(self, places: Places, layers: Iterable[str]) -> dict[str, str]:
        """Change the rest on the way; the layers where that is not possible, and why."""
        impossible = {}
        for layer in layers:
            try:
                self._rewire(places, layer)
            except CannotEdit as fault:
                if layer in self._changed_before:
                    raise CannotEdit(f"`{layer}`: {fault}") from None
                impossible[layer] = str(fault)
        for layer in impossible:
            del self._wishes[layer]
        return impossible

    def _refused(self, edits: Sequence[Structural], impossible: Mapping[str, str]) -> list[str]:
        told = []
        for edit in edits:
            asked = self._asked[id(edit)]
            reasons = [f"`{layer}`: {impossible[layer]}" for layer in sorted(asked) if layer in impossible]
            require_somewhere(edit, len(asked) - len(reasons), reasons)
            told += reasons
        return told

    def _look_again(self) -> Places:
        try:
            return look(self._model, self._call)
        except IsometryError as fault:
            raise CannotEdit(
                f"With the change made, the batch does not go through the model any more. {fault}"
            ) from fault

    # ------------------------------------------------------------------ the plan

    def _plan(self, places: Places, edit: Structural) -> list[str]:
        """Add an edit to what is wished for each layer; why not, where that cannot be."""
        reasons = []
        for name in dict.fromkeys(edit.layers):
            found = places.of(name)
            reason = _missing(places, name) if not found else _objection(places, edit, found)
            if reason:
                reasons.append(f"`{name}`: {reason}")
                continue
            for layer in dict.fromkeys(one.layer for one in found):
                self._asked.setdefault(id(edit), set()).add(layer)
                self._wishes[layer] = self._wishes.get(layer, Wish()).with_edit(edit, keep=self._keep)
        require_somewhere(edit, len(set(edit.layers)) - len(reasons), reasons)
        return reasons

    def _take_back(self, names: set[str]) -> None:
        """Earlier changes to these layers become wishes again, to be granted together with the new ones."""
        for rewired in _rewired(self._model):
            self._undo.append(_Rewound(rewired))
            for address, change in list(rewired.changes.items()):
                if names.isdisjoint((change.layer, *change.norms)):
                    continue
                del rewired.changes[address]
                norms = (
                    rewired.module.get_submodule(path) if path is not None else None
                    for path in (change.before, change.after)
                )
                gated = frozenset({"skip"} if change.gate is not None else ())
                wish = Wish(change.activation, skip=change.skip, gated=gated)
                self._wishes[change.layer] = wish.beside(*norms, keep=self._keep)
                if change.gate is not None:
                    self._take_out(rewired.module, change.gate, change.layer)
                self._rewired_before.add(change.layer)
                self._changed_before.add(change.layer)
            wanted = {change.layer for change in rewired.changes.values() if change.skip}
            rewired.reads = {at: (layer, place) for at, (layer, place) in rewired.reads.items() if layer in wanted}

    def _take_out(self, module: nn.Module, path: str, layer: str) -> None:
        """A gated skip leaves its holder until it is clear that it is still wished for."""
        parent, _, name = path.rpartition(".")
        held = module.get_submodule(parent)._modules
        gate = held.pop(name, None)
        if gate is not None:  # the first of several runs of the layer has not taken it yet
            self._skips[layer] = gate
            self._undo.append(_Put(held, name, gate))

    def _dissolve(self, places: Places) -> bool:
        """The same where an earlier edit has put a module in the place of φ."""
        found = {
            (one.layer, module)
            for one in places.activations
            if one.layer in self._wishes
            for call in one.step.calls
            if isinstance(module := places.called[call], Activated)
        }
        for layer, module in found:
            wish, inner = self._wishes[layer], module.activation
            norms = {side: getattr(module, name) for side, name in SIDES.items() if hasattr(module, name)}
            self._norms |= {(id(inner), side): norm for side, norm in norms.items()}
            self._wishes[layer] = wish.beside(norms.get("before"), norms.get("after"), keep=self._keep)
            self._changed_before.add(layer)
            self._put(module, inner)
        return bool(found)

    # --------------------------------------------------- another module in its place

    def _swappable(self, places: Places, kept: set[int]) -> list[tuple[nn.Module, Activation]]:
        """Modules that are φ of the layers to be changed and of no others, each with one of its runs."""
        by_module: dict[int, list[Activation]] = {}
        for one in places.activations:
            if one.module is not None and id(one.module) in places.sites.module_names and id(one.module) not in kept:
                by_module.setdefault(id(one.module), []).append(one)
        fit = {key: runs for key, runs in by_module.items() if self._fits(places, runs)}
        while True:
            split = {one.layer for one in places.activations if one.module is None or id(one.module) not in fit}
            fewer = {key: runs for key, runs in fit.items() if not any(one.layer in split for one in runs)}
            if len(fewer) == len(fit):
                return [(runs[0].module, runs[0]) for runs in fit.values() if runs[0].module is not None]
            fit = fewer

    def _fits(self, places: Places, runs: Sequence[Activation]) -> bool:
        module, layers = runs[0].module, {one.layer for one in runs}
        wishes = {self._wishes.get(layer) for layer in layers}
        wish = next(iter(wishes))
        if module is None or wish is None or len(wishes) > 1 or wish.skip or places.calls_of(module) != len(runs):
            return False
        if layers & self._rewired_before:
            return False
        learns = next(module.parameters(), None) is not None  # inside another module they would be called otherwise
        return wish.is_activation_only or (len(layers) == 1 and not (learns and wish.activation is None))

    def _swap(self, places: Places, old: nn.Module, one: Activation) -> nn.Module:
        wish = self._wishes[one.layer]
        new = activation_module(wish.activation) if wish.activation is not None else old
        if wish.before or wish.after:
            before, after = self._norm(places, one, "before"), self._norm(places, one, "after")
            new = Activated(before, new, after)
        new.train(old.training)
        self._put(old, new)
        return new

    def _put(self, old: nn.Module, new: nn.Module) -> None:
        """Another module wherever the model holds this one."""
        for parent in list(self._model.modules()):
            for name, child in list(parent._modules.items()):
                if child is old:
                    parent._modules[name] = new
                    self._undo.append(_Put(parent._modules, name, old))
                    _without_fused_pass(parent, self._undo)

    def _norm(self, places: Places, one: Activation, side: str) -> nn.Module | None:
        """The norm that is wished for, on the device and in the precision of the layer's parameters."""
        wish = self._wishes[one.layer]
        norm: str | None = getattr(wish, side)
        if norm is None:
            return None
        new = norm_over_units(norm, one.z, one.unit, gated=side in wish.gated).to(one.device, _dtype(places, one))
        earlier = self._norms.get((id(one.module), side))
        return new if earlier is None or not self._stays(earlier, new) else earlier

    def _skip(self, places: Places, one: Activation) -> nn.Module | None:
        """The module of a skip that has α, likewise."""
        if "skip" not in self._wishes[one.layer].gated:
            return None
        return self._skips.get(one.layer) or GatedSkip().to(one.device, _dtype(places, one))

    # --------------------------------------------------------- a change on the way

    def _rewire(self, places: Places, layer: str) -> None:
        wish, runs = self._wishes[layer], places.of(layer)
        holder, ending = _holder(places, runs[0]) if wish.before or wish.after or wish.gated else (None, "")
        module, addresses = self._where(places, layer, wish, holder)
        rewired = next((one for one in _rewired(module, inside=False)), None)
        if rewired is None:
            rewired = Rewired(module)
            self._undo.append(_Put(vars(module), "forward", vars(module).get("forward")))
            vars(module)["forward"] = rewired
        before, after, gate = (
            self._hold(new, holder, name, module)
            for new, name in (
                (self._norm(places, runs[0], "before"), f"inserted_norm{ending}"),
                (self._norm(places, runs[0], "after"), f"inserted_norm{ending}_after"),
                (self._skip(places, runs[0]), f"inserted_skip{ending}"),
            )
        )
        for run in runs:
            at = addresses[run.step]
            rewired.changes[at] = Change(layer, run.norms, wish.activation, before, after, wish.skip, gate)
            if run.in_place:
                self._writing[id(rewired), at] = rewired
            if wish.skip and run.reading is not None:
                rewired.reads[addresses[run.reading]] = (layer, run.reading.position)
            for call in run.step.calls:
                _without_fused_pass(places.called[call], self._undo)

    def _where(
        self, places: Places, layer: str, wish: Wish, holder: nn.Module | None
    ) -> tuple[nn.Module, dict[Step, Address]]:
        """The smallest module in whose forward pass every φ of a layer has an address that is nobody else's."""
        runs = places.of(layer)
        around = places.around(runs[0])
        for every_run, candidates in ((True, around), (False, around[-1:])):
            for module in candidates:
                if id(module) not in places.sites.module_names or (
                    holder is not None and not any(part is holder for part in module.modules())
                ):
                    continue
                addresses = places.addresses(module, every_run=every_run)
                is_around = all(any(one is module for one in places.around(run)) for run in runs)
                if is_around and self._is_unambiguous(places, module, addresses, runs, wish):
                    return module, addresses
        raise CannotEdit(
            "its nonlinearity is computed where it cannot be told from that of other layers, or again in the backward "
            "pass outside of any module. Give it a module of its own, such as torch.nn.ReLU()."
        )

    def _is_unambiguous(
        self,
        places: Places,
        module: nn.Module,
        addresses: Mapping[Step, Address],
        runs: Sequence[Activation],
        wish: Wish,
    ) -> bool:
        own = {run.step for run in runs}
        if not own <= addresses.keys():
            return False
        taken = {addresses[step] for step in own}
        if any(at in taken and step not in own for step, at in addresses.items()):
            return False
        if not wish.skip:
            return True
        readings = [(run.step, run.reading) for run in runs if run.reading is not None]
        return all(
            reading in addresses and places.call_of(step, module) == places.call_of(reading, module)
            for step, reading in readings
        )

    def _hold(self, new: nn.Module | None, holder: nn.Module | None, name: str, module: nn.Module) -> str | None:
        """Put a norm or a skip into a module that holds it; its path from the module that is rewired."""
        if new is None or holder is None:
            return None
        present = holder._modules.get(name)
        if present is None or not self._stays(present, new):
            new.train(holder.training)
            self._undo.append(_Put(holder._modules, name, present))
            holder._modules[name] = new
        path = next(path for path, part in module.named_modules() if part is holder)
        return f"{path}.{name}" if path else name

    def _stays(self, earlier: nn.Module, new: nn.Module) -> bool:
        """Whether what an earlier edit has put there will do."""
        is_alike = repr(earlier) == repr(new)
        if self._keep and not is_alike:
            raise CannotEdit(
                f"keep=True: a {type(new).__name__} would take the place of the {type(earlier).__name__} of an earlier "
                "edit, and change what the network computes. Undo that edit first, or apply the plan without keep."
            )
        return is_alike

    def _require_met(self) -> None:
        """Every change is reached; and where the model looks for φ in z, it is there."""
        for _ in range(2):
            with noting() as notes:
                self._look_again()
            missing = [
                change.layer
                for rewired in _rewired(self._model)
                for at, change in rewired.changes.items()
                if change.layer in self._wishes and (id(rewired), at) not in notes.met
            ]
            if missing:
                raise CannotEdit(
                    f"`{missing[0]}`: its forward pass does not take the same way twice. Give its nonlinearity a "
                    "module of its own, such as torch.nn.ReLU()."
                )
            if not self._write_in_place(notes):
                return

    def _write_in_place(self, notes: Notes) -> bool:
        found = notes.read_later & self._writing.keys()
        for key in found:
            changes = self._writing.pop(key).changes
            changes[key[1]] = replace(changes[key[1]], in_place=True)
        return bool(found)


# ------------------------------------------------------------------------ objections


def _missing(places: Places, name: str) -> str:
    site = next((site for site in places.sites.all if site.name == name), None)
    if site is None:
        return "there is no such layer."
    if site.order is None:
        return "it does not run on this batch."
    return "no nonlinearity follows it that could be told."


def _objection(places: Places, edit: Structural, runs: Sequence[Activation]) -> str:
    """Why an edit does not fit a layer; empty where it does."""
    if not (isinstance(edit, InsertNorm) or all(one.named for one in runs)):
        return f"the function behind it, a {type(runs[0].module).__name__}, has no name here."
    for one in runs:
        served = {other.layer for other in places.activations if other.module is one.module} - {one.layer}
        if one.step.function or not (isinstance(edit, AddSkip) or served):
            continue
        if not isinstance(edit, ReplaceActivation) or not served <= set(edit.layers):
            return f"its nonlinearity is computed in several operations by a {type(one.module).__name__}" + (
                " that serves other layers too." if served else ", beside which there is no room for a skip."
            )
    if isinstance(edit, InsertNorm):
        return next((reason for one in runs if (reason := _objection_to_norm(edit.norm, one))), "")
    if isinstance(edit, AddSkip):
        return _objection_to_skip(runs)
    return ""


def _objection_to_norm(norm: str, one: Activation) -> str:
    shape = tuple(one.z)
    if len(shape) < 2 or len(shape) > max(BATCH_NORMS):
        return f"its output has the shape {shape}, of which no norm layer knows the units."
    in_channels = one.unit == 1 and len(shape) > len(("sample", "unit"))
    if norm == "rms" and in_channels:
        return "its units stand in the second dimension, and an rms norm is over the last one. Take a group norm."
    if norm == "group" and not in_channels and len(shape) > len(("sample", "unit")):
        return "its units stand in the last dimension, and a group norm is over the second one. Take an rms norm."
    units = shape[one.unit]
    rest = math.prod(shape) // max(units, 1)
    inside = math.prod(shape[1:]) // groups_of(units) if norm == "group" else math.prod(shape[1:])
    seen = rest if norm == "batch" else inside if one.unit == 1 or norm == "group" else units
    if seen > 1 or (norm == "batch" and one.site.module is not None and not one.site.module.training):
        return ""
    return f"a {norm} norm of its output of shape {shape} would be over single numbers, and give nothing but zeros."


def _objection_to_skip(runs: Sequence[Activation]) -> str:
    if all(one.reading is None for one in runs):
        return "what it reads could not be followed to the place of a skip."
    unequal = [one for one in runs if one.reading is None or one.reading.shape != one.h]
    if not unequal:
        return ""
    read = unequal[0].reading
    shape = tuple(read.shape) if read is not None else "something else"
    return f"it reads {shape} and gives {tuple(unequal[0].h)}; a skip needs equal shapes."


# ---------------------------------------------------------------------------- places


def _rewired(module: nn.Module, *, inside: bool = True) -> Iterator[Rewired]:
    """Where changes are made on the way: in a module, and in those inside it."""
    for part in module.modules() if inside else (module,):
        forward = vars(part).get("forward")
        while forward is not None:
            if isinstance(forward, Rewired):
                yield forward
            forward = getattr(forward, "own", None)


def _holder(places: Places, one: Activation) -> tuple[nn.Module, str]:
    """A module that can hold norms and skips for a layer, and how their names end there.

    One that goes through its children, or that would pass for several layers if it had any, cannot.
    """
    site = next(site for site in places.sites.all if site.name == one.layer)
    if site.module is not None and kind_of(site.module) in HOLDERS:
        return site.module, ""
    for call in reversed(one.step.calls):
        module = places.called[call]
        is_list = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        is_layer = not module._modules and any(True for _ in module.parameters(recurse=False))
        if id(module) in places.sites.module_names and not is_list and not is_layer and module is not one.module:
            return module, f"_{one.layer.replace('.', '_')}"
    raise CannotEdit(
        f"`{one.layer}`: there is no module that could hold its norm or the α of its skip. Put the layer into a module "
        "that is no torch.nn.Sequential."
    )


def _dtype(places: Places, one: Activation) -> torch.dtype:
    """The precision of the parameters of a φ's layer; that of φ where it has none."""
    own = [
        parameter.dtype
        for site in places.sites.all
        if site.name == one.layer
        for parameter in site.parameters.values()
        if parameter.is_floating_point()
    ]
    return own[0] if own else one.dtype


def _without_fused_pass(module: nn.Module, undo: Undo) -> None:
    """A ``TransformerEncoderLayer`` evaluates itself in one kernel, with the φ it was made with, unless this is 0."""
    name = "activation_relu_or_gelu"
    if vars(module).get(name):
        undo.append(_Put(vars(module), name, vars(module)[name]))
        vars(module)[name] = 0


class _Put:
    """Puts an entry back; takes it out where there was none."""

    def __init__(self, entries: dict[str, Any], name: str, value: Any) -> None:
        self._entries, self._name, self._value = entries, name, value

    def __call__(self) -> None:
        if self._value is None:
            self._entries.pop(self._name, None)
        else:
            self._entries[self._name] = self._value


class _Rewound:
    """Puts the changes of a module back."""

    def __init__(self, rewired: Rewired) -> None:
        self._rewired, self._changes, self._reads = rewired, dict(rewired.changes), dict(rewired.reads)

    def __call__(self) -> None:
        self._rewired.changes, self._rewired.reads = self._changes, self._reads
