"""The change to make by hand, as a diff of the user's own files, as far as it has a place in them.

Whatever has none is told as in ``patch``: code to paste, below the diff.
"""

import ast
import builtins
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    Edit,
    InsertNorm,
    NetworkEdit,
    ReplaceActivation,
    ScaleRate,
    Standardise,
)
from isometry.treatment.patch import CLIPPING, MODULES, norm_module, patch
from isometry.treatment.places import Making, Place, Places, Standing, Use, read_places
from isometry.treatment.rewriting import SourceFile, Unplaced, renamed

__all__ = ["by_hand"]

REST = "# What the diff leaves to be done:"
WIDTH = 100
DIGITS = 6

CALLS: dict[str, str] = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "selu": "selu",
    "gelu": "gelu",
    "gelu_tanh": "gelu",
    "silu": "silu",
    "mish": "mish",
    "softplus": "softplus",
    "softsign": "softsign",
    "relu6": "relu6",
    "hardtanh": "hardtanh",
    "hardsigmoid": "hardsigmoid",
    "hardswish": "hardswish",
    "celu": "celu",
    "softmax": "softmax",
}
"""φ → its function in ``torch.nn.functional``."""
ARGUMENTS = {"gelu_tanh": ', approximate="tanh"', "softmax": ", -1"}
SHORT = frozenset({"relu", "sigmoid", "tanh"})
"""Those that are functions of ``torch`` and methods of tensors as well."""
UNBRACKETED = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)
"""Expressions that may stand anywhere without brackets."""


def by_hand(edits: Sequence[Edit], run: Run) -> str:
    """What to change by hand for some edits: a unified diff of the script's files, and code to paste for the rest.

    A change has a place where the run knows it, the file is what it was when it ran, and nothing else is made or
    computed there. Nothing is written.

    Args:
        edits: what to change
        run: of the script as it is, with the places that were noted while it ran
    """
    places = read_places(run)
    if places is None:
        return patch(edits, run.architecture)
    source = _Source(places, run.architecture)
    left = source.placed(edits)
    diff = source.diff()
    if not diff:
        return patch(edits, run.architecture)
    rest = patch(left, source.architecture)
    return f"{diff}\n{REST}\n\n{rest}" if rest else diff


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
        }
        left = [edit for edit in edits if type(edit) not in ways or not self._tried(ways[type(edit)], edit)]
        self._write_made()
        for kind, way in ((True, self._prepare), (False, self._tune)):
            chosen = [
                edit for edit in left if isinstance(edit, NetworkEdit) is kind and not isinstance(edit, Standardise)
            ]
            if chosen and self._tried(way, chosen):
                left = [edit for edit in left if edit not in chosen]
        return left

    def diff(self) -> str:
        return "".join(file.diff() for file in self._files.values() if file.is_changed)

    def _tried(self, way: Callable[..., None], *given: object) -> bool:
        """Whether it could be done; if not, nothing has been."""
        marks = {name: file.mark() for name, file in self._files.items()}
        made, architecture = {key: replace(one) for key, one in self._made.items()}, self.architecture
        try:
            way(*given)
        except Unplaced:
            for name, file in self._files.items():
                file.back_to(marks.get(name, (0, 0, {})))
            self._files = {name: file for name, file in self._files.items() if name in marks}
            self._made, self.architecture = made, architecture
            return False
        return True

    # ------------------------------------------------------------------- places

    def _at(self, number: int | None) -> tuple[SourceFile, ast.Call]:
        if number is None:
            raise Unplaced("It is not known where.")
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
                _call_other(file, call, use.function, edit.activation)
                continue
            module = MODULES.get(edit.activation)
            if module is None:
                raise Unplaced(f"{edit.activation} is no module.")
            made = self._making(file, call, use)
            made.words = module.replace("nn.", f"{_prefix(file, call)}.", 1)
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
            norm = norm_module(edit.norm, layer).replace("nn.", f"{_prefix(file, call)}.", 1)
            known = made.after if edit.after else made.before
            if known not in ("", norm):
                raise Unplaced("Layers of different size get their φ from one place.")
            made.after, made.before = (norm, made.before) if edit.after else (made.after, norm)

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
            words = parts[0] if len(parts) == 1 else f"{_prefix(file, made.call)}.Sequential({', '.join(parts)})"
            file.replace(start, end, words)

    # -------------------------------------------------------------- the optimiser

    def _makings(self) -> tuple[Making, ...]:
        if not self.places.optimizers:
            raise Unplaced("No optimiser was seen.")
        return self.places.optimizers

    def _scale(self, edit: ScaleRate) -> None:
        for making in self._makings():
            file, call = self._at(making.frames[0].place if making.frames else None)
            _require_one_setting(file, call, making)
            rate = _argument(call, "lr", 1)
            if rate is not None:
                file.replace(file.start(rate), file.end(rate), _product(file.words(rate), rate, edit.factor))
            elif making.rate is None or any(keyword.arg is None for keyword in call.keywords):
                raise Unplaced("Its rate is not set where it is made.")
            else:
                given = [*call.args, *(keyword.value for keyword in call.keywords)]
                end = max(map(file.end, given))
                if not re.fullmatch(r"\s*,?\s*\)", file.text[end : file.end(call)]):
                    raise Unplaced("Something stands behind its last argument.")
                file.replace(end, end, f", lr={_number(making.rate * edit.factor)}")

    def _choose(self, edit: ChangeOptimizer) -> None:
        made = {"adam": "Adam({given}, lr={rate})", "sgd": "SGD({given}, lr={rate}, momentum=0.9)"}[edit.name]
        for making in self._makings():
            file, call = self._at(making.frames[0].place if making.frames else None)
            _require_one_setting(file, call, making)
            given = _argument(call, "params", 0)
            if given is None:
                raise Unplaced("Its parameters are not given where it is made.")
            prefix = file.words(call.func.value) if isinstance(call.func, ast.Attribute) else ""
            if prefix.rpartition(".")[2] != "optim":
                prefix = file.name_of("torch.optim")
            words = made.format(given=file.words(given), rate=_number(edit.rate))
            file.replace(file.start(call), file.end(call), f"{prefix}.{words}")

    def _clip(self, edit: Clip) -> None:
        making = self._only(self._makings())
        if edit.by not in CLIPPING:
            raise Unplaced("It needs more than a line.")
        file, call = self._at(making.stepped.place)
        statement = file.statement_of(call)
        receiver = call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr == "step" else None
        if making.stepped.model is None or receiver is None or call.args or call.keywords:
            raise Unplaced("Its step is no plain call of step().")
        if not isinstance(statement, ast.Expr) or statement.value is not call:
            raise Unplaced("Its step is part of another statement.")
        steps = [node for node in ast.walk(file.tree) if isinstance(node, ast.Attribute) and node.attr == "step"]
        if sum(ast.dump(node.value) == ast.dump(receiver) for node in steps) > 1:
            raise Unplaced("It steps in several places.")
        function = f"{file.name_of('torch.nn')}.utils.{CLIPPING[edit.by]}"
        file.insert_before(statement, f"{function}({making.stepped.model}.parameters(), {edit.threshold:g})")

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
        standing = self._standing_with_model(self._makings()[0])
        file, call = self._at(standing.place)
        assert standing.model is not None
        self._insert(file, file.statement_of(call), edits, {"model": standing.model}, behind=False)

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

    def _standing_with_model(self, making: Making) -> Standing:
        """The innermost call in making an optimiser that knows the network by name, and makes no other one."""
        others = [frame.place for other in self.places.optimizers if other is not making for frame in other.frames]
        for standing in making.frames:
            if standing.model is not None and standing.place not in others:
                return standing
        raise Unplaced("The network has no name where its optimiser is made.")

    def _tune(self, edits: Sequence[Edit]) -> None:
        """What is done to the optimiser, behind the statement that gives it a name."""
        making = self._only(self._makings())
        for standing in making.frames:
            file, call = self._at(standing.place)
            statement = file.statement_of(call)
            if isinstance(statement, ast.Return) and statement.value is call:
                continue
            name = _target(file, statement, call)
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
        definitions, body = _parts(patch(edits, self.architecture))
        if not body or all(line.startswith("#") or not line for line in body.split("\n")):
            raise Unplaced("There is no code for it.")
        names |= {"nn": file.name_of("torch.nn"), "torch": file.name_of("torch")}
        body = _with_free_names(body, file, keep=frozenset(names))
        if definitions:
            file.insert_above(statement, renamed("\n\n\n".join(definitions), {k: names[k] for k in ("nn", "torch")}))
        body = renamed(body, names)
        if file.indentation(statement):
            body = body.replace("\n\n\n", "\n\n")
        (file.insert_behind if behind else file.insert_before)(statement, body)


# ------------------------------------------------------------------------------ source


def _prefix(file: SourceFile, call: ast.Call) -> str:
    """What stands before the name of a module of torch's: ``nn``, where the call itself is spelled so."""
    if isinstance(call.func, ast.Attribute):
        words = file.words(call.func.value)
        if words in (file.known_as("torch.nn"), "nn", "torch.nn"):
            return words
    return file.name_of("torch.nn")


def _call_other(file: SourceFile, call: ast.Call, old: str, new: str) -> None:
    """Call another φ of the same thing."""
    if new != "identity" and new not in CALLS:
        raise Unplaced(f"{new} is no function.")
    if isinstance(file.parent(call), ast.Expr):
        raise Unplaced("It is computed in place.")
    words = file.words(call.func)
    holder = words.rpartition(".")[0]
    own = CALLS.get(old, old)
    if isinstance(call.func, ast.Name):
        given, holder = call.args, ""
    elif not isinstance(call.func, ast.Attribute) or call.func.attr.strip("_") != own:
        raise Unplaced("Something else is called there.")
    elif holder in ("torch", "F", file.known_as("torch"), file.known_as("torch.nn.functional")):
        given = call.args
    elif not call.args and not call.keywords:
        _call_method(file, call.func, call, new)
        return
    else:
        raise Unplaced("Something else is called there.")
    imported = {file.known_as(f"{module}.{own}") for module in ("torch", "torch.nn.functional")}
    if isinstance(call.func, ast.Name) and call.func.id not in imported:
        raise Unplaced("Something else is called there.")
    if not given or isinstance(given[0], ast.Starred):
        raise Unplaced("Its argument is not the first one.")
    rest = file.text[file.end(given[0]) : file.end(call) - 1]
    if rest.strip(" \t\r\n,") and (len(given) + len(call.keywords) == 1 or ")" in rest.partition(",")[0]):
        raise Unplaced("Its argument stands in brackets.")
    if new == "identity" and isinstance(given[0], UNBRACKETED):
        file.replace(file.start(call), file.start(given[0]), "")
        file.replace(file.end(given[0]), file.end(call), "")
        return
    file.replace(file.start(call.func), file.end(call.func), _function(file, holder, new))
    if len(given) + len(call.keywords) > 1 or ARGUMENTS.get(new):
        file.replace(file.end(given[0]), file.end(call) - 1, ARGUMENTS.get(new, ""))


def _function(file: SourceFile, holder: str, new: str) -> str:
    if new == "identity":
        return ""  # what is left are the brackets round the argument
    if new in SHORT and holder in ("torch", file.known_as("torch")):
        return f"{holder}.{new}"
    functional = file.known_as("torch.nn.functional")
    if functional is None or functional.count("."):
        return (
            f"{file.name_of('torch')}.{new}" if new in SHORT else f"{file.name_of('torch.nn')}.functional.{CALLS[new]}"
        )
    return f"{functional}.{CALLS[new]}"


def _call_method(file: SourceFile, function: ast.Attribute, call: ast.Call, new: str) -> None:
    start, end = file.end(function.value), file.end(call)
    if new in SHORT:
        file.replace(start, end, f".{new}()")
    elif new == "identity":
        file.replace(start, end, "")
    else:
        file.replace(file.start(call), file.start(call), f"{_function(file, '', new)}(")
        file.replace(start, end, f"{ARGUMENTS.get(new, '')})")


def _require_one_setting(file: SourceFile, call: ast.Call, making: Making) -> None:
    """Refuse groups of parameters with settings of their own, and a call that makes more than the optimiser."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    is_chosen = isinstance(call.func, ast.Subscript | ast.Call) or name.islower()  # by a variable
    if not is_chosen and name != making.type and file.known_as(f"torch.optim.{making.type}") != name:
        raise Unplaced("Something else is made there.")
    given = _argument(call, "params", 0)
    if making.groups > 1 or given is None or any(isinstance(node, ast.Dict) for node in ast.walk(given)):
        raise Unplaced("Its groups of parameters have settings of their own.")


def _argument(call: ast.Call, name: str, position: int) -> ast.expr | None:
    """An argument by its name or position."""
    named = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    if named is not None:
        return named
    if any(isinstance(given, ast.Starred) for given in call.args[: position + 1]):
        raise Unplaced("Its arguments are given as a list.")
    return call.args[position] if len(call.args) > position else None


def _product(words: str, rate: ast.expr, factor: float) -> str:
    if isinstance(rate, ast.Constant) and isinstance(rate.value, int | float):
        return _number(rate.value * factor)
    bare = isinstance(rate, UNBRACKETED) or (isinstance(rate, ast.BinOp) and isinstance(rate.op, ast.Mult | ast.Div))
    return f"{words if bare else f'({words})'} * {_number(factor)}"


def _number(value: float) -> str:
    return f"{value:.{DIGITS}g}"


def _target(file: SourceFile, statement: ast.stmt, call: ast.Call) -> str:
    """What a statement calls the result of a call."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        raise Unplaced("It is given no name there.")
    if statement.value is not call or not isinstance(target, ast.Name | ast.Attribute):
        raise Unplaced("It is given no name there.")
    return file.words(target)


# -------------------------------------------------------------------------------- code


def _parts(code: str) -> tuple[list[str], str]:
    """The definitions in a patch that stand for themselves, and the rest, without imports."""
    lines = code.split("\n")
    definitions: list[str] = []
    body: list[str] = []
    at, follows = 0, False
    for node in ast.parse(code).body:
        assert node.end_lineno is not None
        words = "\n".join(lines[at : node.end_lineno]).strip("\n")
        at = node.end_lineno
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not _needs(node):
            definitions.append(_here(words))
        else:
            apart = isinstance(node, ast.FunctionDef) or words.startswith("#") or follows
            body.append("\n\n" * apart + _here(words))
        follows = isinstance(node, ast.FunctionDef)
    rest = "\n".join(lines[at:]).strip("\n")
    return definitions, "\n".join([*body, *([f"\n{_here(rest)}"] if rest else [])]).strip("\n")


def _needs(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a definition uses the network or the optimiser, and not as an argument."""
    arguments = {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return bool((names - arguments) & {"model", "optimizer"})


def _here(words: str) -> str:
    """Code whose comment no longer says where to put it."""
    lines = words.split("\n")
    count = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.removeprefix("#").strip() for line in lines[:count])
    comment = re.sub(r"; (behind|before) the line[^.]*\.", ".", comment)
    comment = re.sub(r"^Behind the line that makes the optimiser; it", "It", comment)
    comment = re.sub(r" Where forward\(\) calls.*", "", comment)
    told = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
    return "\n".join([*told, *lines[count:]])


def _with_free_names(body: str, file: SourceFile, *, keep: frozenset[str]) -> str:
    """Code whose own variables are called like nothing in the file."""
    taken, names = file.identifiers, {}
    for name in sorted(_bound(ast.parse(body)) - keep):
        free = name
        while free in taken:
            free += "_"
        if free != name:
            names[name] = free
    return renamed(body, names) if names else body


def _bound(tree: ast.Module) -> set[str]:
    """Names that code gives to something, outside functions of its own."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        waiting += ast.iter_child_nodes(node)
    return found


def _with_activation(architecture: Architecture, sites: set[str], activation: str) -> Architecture:
    def changed(layer: Layer) -> Layer:
        return replace(layer, activation=activation) if layer.name in sites else layer

    return replace(architecture, layers=tuple(map(changed, architecture.layers)))
