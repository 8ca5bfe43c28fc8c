"""The change to make by hand, as a diff of the user's own files, as far as it has a place in them.

Whatever has none is told as in ``patch``: code to paste, below the diff.
"""

import ast
import builtins
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from isometry.diagnosis.precision import HALF
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    Edit,
    InsertNorm,
    NetworkEdit,
    Reinitialise,
    ReplaceActivation,
    ScaleLoss,
    ScaleOutput,
    ScaleRate,
    ScaleWeights,
    SetForgetBias,
    SetPrecision,
    Standardise,
    TrainingEdit,
)
from isometry.treatment.blocks import taken_apart, with_free_names
from isometry.treatment.calls import argument, call_other, literal, module_prefix, product, require_one_setting, target
from isometry.treatment.patch import CLIPPING, MODULES, norm_module, patch
from isometry.treatment.places import Making, Place, Places, Use, read_places
from isometry.treatment.rewriting import SourceFile, Unplaced, renamed

__all__ = ["by_hand"]

ROUND_THE_LOOP: dict[type, str] = {
    Standardise: "It is not known where the inputs are read.",
    SetPrecision: "No autocast was found that names float16, with weights in float32.",
    ScaleLoss: "It takes the place of the calls of backward() and step() in the loop.",
}
"""Changes that no block of code behind a line makes whole, and why."""
REST = "# What the diff leaves to be done:"
PASTE = "# No diff, but code to paste:"
FROZEN = "# Names and sizes of layers are those of this run: look again where arguments of yours change the network."
WIDTH = 100
PLAIN = (ast.Name, ast.Attribute, ast.Constant, ast.BinOp, ast.operator, ast.expr_context)
"""Parts of an expression that gives the same wherever it stands in one list."""
SIMPLE = (ast.Assign, ast.AnnAssign, ast.Expr)
"""Statements behind which the program goes on."""
OF_PRESENT = (Reinitialise, ScaleOutput, ScaleWeights, SetForgetBias)
"""Edits that leave an optimiser the parameters that it knows."""


def by_hand(edits: Sequence[Edit], run: Run) -> str:
    """What to change by hand for some edits: a unified diff of the script's files, and code to paste for the rest.

    A change has a place where the run knows it, the file is what it was when it ran, and nothing else is made or
    computed there. Where one has none, a sentence above the code to paste says why. Nothing is written.

    Args:
        edits: what to change
        run: of the script as it is, with the places that were noted while it ran
    """
    places = read_places(run)
    if places is None:
        return patch(edits, run.architecture)
    source = _Source(places, run.architecture)
    left = source.placed(edits)
    try:
        diff = source.diff()
    except Unplaced as reason:
        diff, left, source.reasons = "", list(edits), [str(reason)]
    rest = patch(left, source.architecture if diff else run.architecture)
    parts = [diff, f"{_because(REST if diff else PASTE, source.reasons)}\n\n{rest}" if rest else ""]
    if source.has_frozen or _names_layers(left):
        parts.append(FROZEN + "\n")
    return "\n".join(part for part in parts if part)


def _because(opening: str, reasons: Sequence[str]) -> str:
    """Why there is code to paste, as a comment."""
    return "\n".join([opening, *(line for reason in dict.fromkeys(reasons) for line in _comment(reason))])


def _comment(words: str) -> list[str]:
    return textwrap.wrap(words, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)


def _names_layers(edits: Iterable[Edit]) -> bool:
    """Whether code for these has names of layers in it."""
    return any(isinstance(edit, NetworkEdit) and not isinstance(edit, ScaleOutput) for edit in edits)


@dataclass(slots=True)
class _Made:
    """What is to stand where a φ is made."""

    call: ast.Call
    words: str
    """Of φ itself."""
    before: str = ""
    """A norm to apply first."""
    after: str = ""


class _Source:
    """The files of a training, and what becomes of them."""

    def __init__(self, places: Places, architecture: Architecture) -> None:
        self.places = places
        self.architecture = architecture
        """As it is with the φ that have been replaced so far."""
        self.reasons: list[str] = []
        """Why some edits have no place."""
        self.has_frozen = False
        """Names or sizes of layers stand in the diff as numbers and words of one run."""
        self._why = ""
        """Why the last way was none."""
        self._files: dict[str, SourceFile] = {}
        self._made: dict[tuple[str, int, int], _Made] = {}

    def placed(self, edits: Sequence[Edit]) -> list[Edit]:
        """Carry out what has a place of its own; then the rest as blocks of code; what is left over is given."""
        ways: dict[type, Callable[..., None]] = {
            ReplaceActivation: self._replace,
            InsertNorm: self._normalise,
            ChangeOptimizer: self._choose,
            ScaleRate: self._scale,
            Clip: self._clip,
            SetPrecision: self._compute,
        }
        left = [edit for edit in edits if type(edit) not in ways or not self._tried(ways[type(edit)], edit)]
        self._write_made()
        reasons: dict[Edit, str] = {edit: ROUND_THE_LOOP[type(edit)] for edit in left if type(edit) in ROUND_THE_LOOP}
        for way, kinds in ((self._give_out, ScaleOutput), (self._prepare, NetworkEdit), (self._tune, TrainingEdit)):
            chosen = [edit for edit in left if isinstance(edit, kinds) and type(edit) not in ROUND_THE_LOOP]
            if chosen and self._tried(way, chosen):
                left = [edit for edit in left if edit not in chosen]
            reasons |= dict.fromkeys(chosen, self._why)
        self.reasons = [reasons[edit] for edit in left]
        return left

    def diff(self) -> str:
        changed = [file for file in self._files.values() if file.is_changed]
        for file in changed:
            file.require_sound()
        return "".join(file.diff() for file in changed)

    def _tried(self, way: Callable[..., None], *given: object) -> bool:
        """Whether it could be done; if not, nothing has been."""
        marks = {name: file.mark() for name, file in self._files.items()}
        made, architecture = {key: replace(one) for key, one in self._made.items()}, self.architecture
        has_frozen = self.has_frozen
        try:
            way(*given)
        except Unplaced as reason:
            self._why = str(reason)
            for name, file in self._files.items():
                file.back_to(marks.get(name, (0, 0, {})))
            self._files = {name: file for name, file in self._files.items() if name in marks}
            self._made, self.architecture, self.has_frozen = made, architecture, has_frozen
            return False
        return True

    # ------------------------------------------------------------------- places

    def _at(self, number: int | None) -> tuple[SourceFile, ast.Call]:
        if number is None:
            raise Unplaced("It is not known where in the files.")
        place = self.places.listed[number]
        return self._file(place), self._file(place).call_at(place)

    def _file(self, place: Place) -> SourceFile:
        if place.file not in self._files:
            path = self.places.folder / place.file
            self._files[place.file] = SourceFile(path, place.file, self.places.digests.get(place.file, ""))
        return self._files[place.file]

    def _uses(self, layers: Iterable[str]) -> list[Use]:
        """The computations of φ of some layers: all that happen at their places, and nothing else happens there."""
        sites = {self._site(name) for name in layers}
        uses = [use for use in self.places.uses if use.layer in sites]
        if {use.layer for use in uses} != sites or any(use.place is None for use in uses):
            raise Unplaced("It is not known where φ of each layer comes from.")
        for number in {use.place for use in uses}:
            here = [use for use in self.places.uses if use.place == number]
            instances = self.places.instances[number] if number is not None else None
            modules = {use.module for use in here if use.module is not None}
            others = [use for use in here if use.layer not in sites]
            if others or (instances is not None and instances != len(modules)):
                raise Unplaced("Something else comes from the same place.")
        return uses

    def _site(self, name: str) -> str:
        return self.architecture[name].norm or name

    # ------------------------------------------------------------------------- φ

    def _replace(self, edit: ReplaceActivation) -> None:
        for use in self._uses(edit.layers):
            file, call = self._at(use.place)
            if use.called:
                call_other(file, call, use.function, edit.activation)
                continue
            module = MODULES.get(edit.activation)
            if module is None:
                raise Unplaced(f"{edit.activation} is no module.")
            made = self._making(file, call, use)
            made.words = module.replace("nn.", f"{module_prefix(file, call)}.", 1)
        sites = {self._site(name) for name in edit.layers}
        self.architecture = _with_activation(self.architecture, sites, edit.activation)

    def _normalise(self, edit: InsertNorm) -> None:
        uses = self._uses(edit.layers)
        if any(use.called for use in uses) or any(self.architecture[name].norm for name in edit.layers):
            raise Unplaced("φ is called as a function, or a norm stands before it already.")
        for use in uses:
            assert use.layer is not None
            if sum(other.module == use.module for other in self.places.uses) > 1:
                raise Unplaced("One module is φ of several layers.")
            file, call = self._at(use.place)
            made = self._making(file, call, use)
            layer = self.architecture[use.layer]
            if not layer.weight_shape:
                raise Unplaced(f"{layer.name} has no weight that tells its units.")
            written = self._units_written(use.layer, file, call) if edit.norm != "group" else ""
            self.has_frozen |= not written
            norm = norm_module(edit.norm, layer, written).replace("nn.", f"{module_prefix(file, call)}.", 1)
            known = made.after if edit.after else made.before
            if known not in ("", norm):
                raise Unplaced("Layers of different size get their φ from one place.")
            made.after, made.before = (norm, made.before) if edit.after else (made.after, norm)

    def _units_written(self, layer: str, file: SourceFile, call: ast.Call) -> str:
        """What the code has for the number of a layer's units, where it makes the layer beside its φ; else empty."""
        number = self.places.modules.get(layer)
        if number is None or self.places.listed[number].file != file.name:
            return ""
        made = file.call_at(self.places.listed[number])
        if file.parent(made) is not file.parent(call):
            return ""
        units = next((key.value for key in made.keywords if key.arg in ("out_features", "out_channels")), None)
        if units is None and len(made.args) > 1 and not any(isinstance(one, ast.Starred) for one in made.args):
            units = made.args[1]
        plain = units is not None and all(isinstance(node, PLAIN) for node in ast.walk(units))
        return file.words(units) if units is not None and plain else ""

    def _making(self, file: SourceFile, call: ast.Call, use: Use) -> _Made:
        """What is to stand at a place where a module is made that is φ."""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name != use.type and (call.args or call.keywords or hasattr(builtins, name)):
            raise Unplaced(f"{file.name}, line {call.lineno}: more than {use.type} is made there.")
        return self._made.setdefault((file.name, file.start(call), file.end(call)), _Made(call, file.words(call)))

    def _write_made(self) -> None:
        for (name, start, end), made in self._made.items():
            file = self._files[name]
            parts = [part for part in (made.before, made.words, made.after) if part]
            words = parts[0] if len(parts) == 1 else f"{module_prefix(file, made.call)}.Sequential({', '.join(parts)})"
            file.replace(start, end, words)

    # -------------------------------------------------------------- the optimiser

    def _makings(self) -> tuple[Making, ...]:
        if not self.places.optimizers:
            raise Unplaced("No optimiser was seen.")
        return self.places.optimizers

    def _scale(self, edit: ScaleRate) -> None:
        for making in self._makings():
            file, call = self._at(making.frames[0].place if making.frames else None)
            require_one_setting(file, call, making)
            rate = argument(call, "lr", 1)
            if rate is not None:
                file.replace(file.start(rate), file.end(rate), product(file.words(rate), rate, edit.factor))
            elif making.rate is None or any(keyword.arg is None for keyword in call.keywords):
                raise Unplaced("The rate is not set where the optimiser is made.")
            else:
                given = [*call.args, *(keyword.value for keyword in call.keywords)]
                end = max(map(file.end, given))
                if not re.fullmatch(r"\s*,?\s*\)", file.text[end : file.end(call)]):
                    raise Unplaced("Something stands behind the last argument of the optimiser.")
                file.replace(end, end, f", lr={literal(making.rate * edit.factor)}")

    def _choose(self, edit: ChangeOptimizer) -> None:
        made = {"adam": "Adam({given}, lr={rate})", "sgd": "SGD({given}, lr={rate}, momentum=0.9)"}[edit.name]
        for making in self._makings():
            file, call = self._at(making.frames[0].place if making.frames else None)
            require_one_setting(file, call, making)
            given = argument(call, "params", 0)
            if given is None:
                raise Unplaced("The parameters are not given where the optimiser is made.")
            prefix = file.words(call.func.value) if isinstance(call.func, ast.Attribute) else ""
            if prefix.rpartition(".")[2] != "optim":
                prefix = file.name_of("torch.optim")
            words = made.format(given=file.words(given), rate=literal(edit.rate))
            file.replace(file.start(call), file.end(call), f"{prefix}.{words}")

    def _clip(self, edit: Clip) -> None:
        making = self._only(self._makings())
        if edit.by not in CLIPPING:
            raise Unplaced("Such clipping needs more than a line.")
        file, call = self._at(making.stepped.place)
        statement = file.statement_of(call)
        receiver = call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr == "step" else None
        if making.stepped.model is None or receiver is None or call.args or call.keywords:
            raise Unplaced("The optimiser's step is no plain call of step().")
        if not isinstance(statement, ast.Expr) or statement.value is not call:
            raise Unplaced("The optimiser's step is part of another statement.")
        steps = [node for node in ast.walk(file.tree) if isinstance(node, ast.Attribute) and node.attr == "step"]
        if sum(ast.dump(node.value) == ast.dump(receiver) for node in steps) > 1:
            raise Unplaced("The optimiser steps in several places.")
        function = f"{file.name_of('torch.nn')}.utils.{CLIPPING[edit.by]}"
        file.insert_before(statement, f"{function}({making.stepped.model}.parameters(), {edit.threshold:g})")

    def _compute(self, edit: SetPrecision) -> None:
        """Another format where an autocast names float16, in the file that steps; the weights are float32 by now."""
        if any(layer.dtype in HALF for layer in self.architecture) or edit.format not in HALF:
            raise Unplaced(ROUND_THE_LOOP[SetPrecision])
        file, _ = self._at(self._only(self._makings()).stepped.place)
        calls = [node for node in ast.walk(file.tree) if isinstance(node, ast.Call)]
        given = [argument(call, "dtype", 1) for call in calls if ast.unparse(call.func).endswith("autocast")]
        found = [word for word in given if isinstance(word, ast.Attribute) and word.attr == "float16"]
        if not found or len(found) < len(given):
            raise Unplaced(ROUND_THE_LOOP[SetPrecision])
        for word in found:
            file.replace(file.start(word), file.end(word), f"{file.words(word.value)}.{edit.format}")

    @staticmethod
    def _only(makings: Sequence[Making]) -> Making:
        if len(makings) != 1:
            raise Unplaced("There are several optimisers.")
        return makings[0]

    # ------------------------------------------------------------- blocks of code

    def _prepare(self, edits: Sequence[NetworkEdit]) -> None:
        """What is done to the network, before the statement that makes the first optimiser."""
        for edit in edits:
            if isinstance(edit, ReplaceActivation | AddSkip) or (isinstance(edit, InsertNorm) and edit.after):
                self._require_modules(edit.layers)
        file, statement, model = self._below_the_model(self._makings()[0])
        behind = _is_made_in(statement, model)
        if behind and not (isinstance(statement, SIMPLE) and all(isinstance(edit, OF_PRESENT) for edit in edits)):
            raise Unplaced(f"{file.name}, line {statement.lineno}: one statement makes the network and its optimiser.")
        self._insert(file, statement, edits, {"model": model}, behind=behind)
        self.has_frozen |= _names_layers(edits)

    def _give_out(self, edits: Sequence[NetworkEdit]) -> None:
        """What is done to the output, at once behind the network, so that copies of it do the same."""
        file, statement, model = self._below_the_model(self._makings()[0])
        if _is_made_in(statement, model):
            raise Unplaced(f"{file.name}, line {statement.lineno}: one statement makes the network and its optimiser.")
        block = file.block_of(statement)
        named = [one for one in block[: block.index(statement)] if _gives_name(one, model)]
        self._insert(file, named[-1] if named else statement, edits, {"model": model}, behind=bool(named))

    def _require_modules(self, layers: Sequence[str]) -> None:
        """Code that puts modules in for others stops where φ is a function, or one module serves several layers."""
        functions = {use.function for use in self._known_uses(layers)}
        for use in (use for use in self.places.uses if use.function in functions):
            alike = [other for other in self.places.uses if other.module == use.module]
            if use.called or use.module is None or len(alike) > 1:
                raise Unplaced("Not every φ is a module of its own.")

    def _known_uses(self, layers: Sequence[str]) -> list[Use]:
        sites = {self._site(name) for name in layers}
        uses = [use for use in self.places.uses if use.layer in sites]
        if {use.layer for use in uses} != sites:
            raise Unplaced("It is not known where φ of each layer comes from.")
        return uses

    def _below_the_model(self, making: Making) -> tuple[SourceFile, ast.stmt, str]:
        """The innermost statement in making an optimiser that knows the network by name, and makes no other one."""
        others = [frame.place for other in self.places.optimizers if other is not making for frame in other.frames]
        why = Unplaced(
            "Several optimisers are made, each for a part of what is trained: `model` below stands for all of it."
            if others
            else "The network has no name where its optimiser is made."
        )
        for standing in making.frames:
            if standing.model is None or standing.place in others:
                continue
            try:
                file, call = self._at(standing.place)
                return file, file.statement_of(call), standing.model
            except Unplaced as reason:
                why = reason
        raise why

    def _tune(self, edits: Sequence[Edit]) -> None:
        """What is done to the optimiser, behind the statement that gives it a name."""
        making = self._only(self._makings())
        for standing in making.frames:
            file, call = self._at(standing.place)
            statement = file.statement_of(call)
            if isinstance(statement, ast.Return) and statement.value is call:
                continue
            name = target(file, statement, call)
            names = {"optimizer": name}
            if any(isinstance(edit, Clip) for edit in edits):
                if standing.model is None:
                    raise Unplaced("The network has no name there.")
                names["model"] = standing.model
            self._insert(file, statement, edits, names, behind=True)
            return
        raise Unplaced("The optimiser has no name.")

    def _insert(
        self, file: SourceFile, statement: ast.stmt, edits: Sequence[Edit], names: dict[str, str], *, behind: bool
    ) -> None:
        definitions, body = taken_apart(patch(edits, self.architecture))
        if not body or all(line.startswith("#") or not line for line in body.split("\n")):
            raise Unplaced("There is no code for it.")
        names |= {"nn": file.name_of("torch.nn"), "torch": file.name_of("torch")}
        body = with_free_names(body, file, keep=frozenset(names))
        if definitions:
            file.insert_above(statement, renamed("\n\n\n".join(definitions), {k: names[k] for k in ("nn", "torch")}))
        body = renamed(body, names)
        if file.indentation(statement):
            body = body.replace("\n\n\n", "\n\n")
        (file.insert_behind if behind else file.insert_before)(statement, body)


def _is_made_in(statement: ast.stmt, model: str) -> bool:
    """Whether an expression in a statement gives the network its name."""
    named = [node.target.id for node in ast.walk(statement) if isinstance(node, ast.NamedExpr)]
    return model in named


def _gives_name(statement: ast.stmt, model: str) -> bool:
    """Whether the network gets its name in a statement, or in one inside it."""
    stores = (node for node in ast.walk(statement) if isinstance(getattr(node, "ctx", None), ast.Store))
    return any(isinstance(node, ast.expr) and ast.unparse(node) == model for node in stores)


def _with_activation(architecture: Architecture, sites: set[str], activation: str) -> Architecture:
    def changed(layer: Layer) -> Layer:
        return replace(layer, activation=activation) if layer.name in sites else layer

    return replace(architecture, layers=tuple(map(changed, architecture.layers)))
