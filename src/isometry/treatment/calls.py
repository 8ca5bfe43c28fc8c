"""Other words for a call in somebody's source: of φ, of its module, of an optimiser."""

import ast

from isometry.treatment.places import Making
from isometry.treatment.rewriting import SourceFile, Unplaced

__all__ = ["argument", "call_other", "literal", "module_prefix", "product", "require_one_setting", "target"]

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


def module_prefix(file: SourceFile, call: ast.Call) -> str:
    """What stands before the name of a module of torch's: ``nn``, where the call itself is spelled so."""
    if isinstance(call.func, ast.Attribute):
        words = file.words(call.func.value)
        if words in (file.known_as("torch.nn"), "nn", "torch.nn"):
            return words
    return file.name_of("torch.nn")


def call_other(file: SourceFile, call: ast.Call, old: str, new: str) -> None:
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


def require_one_setting(file: SourceFile, call: ast.Call, making: Making) -> None:
    """Refuse groups of parameters with settings of their own, and a call that makes more than the optimiser."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    is_chosen = isinstance(call.func, ast.Subscript | ast.Call) or name.islower()  # by a variable
    if not is_chosen and name != making.type and file.known_as(f"torch.optim.{making.type}") != name:
        raise Unplaced(f"{file.name}, line {call.lineno}: something else is made where the optimiser is.")
    given = argument(call, "params", 0)
    if making.groups > 1 or given is None or any(isinstance(node, ast.Dict) for node in ast.walk(given)):
        raise Unplaced("The optimiser's groups of parameters have settings of their own.")


def argument(call: ast.Call, name: str, position: int) -> ast.expr | None:
    """An argument by its name or position."""
    named = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    if named is not None:
        return named
    if any(isinstance(given, ast.Starred) for given in call.args[: position + 1]):
        raise Unplaced("Its arguments are given as a list.")
    return call.args[position] if len(call.args) > position else None


def product(words: str, rate: ast.expr, factor: float) -> str:
    if isinstance(rate, ast.Constant) and isinstance(rate.value, int | float):
        return literal(rate.value * factor)
    bare = isinstance(rate, UNBRACKETED) or (isinstance(rate, ast.BinOp) and isinstance(rate.op, ast.Mult | ast.Div))
    return f"{words if bare else f'({words})'} * {literal(factor)}"


def literal(value: float) -> str:
    return f"{value:.{DIGITS}g}"


def target(file: SourceFile, statement: ast.stmt, call: ast.Call) -> str:
    """What a statement calls the result of a call."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        raise Unplaced(f"{file.name}, line {statement.lineno}: the optimiser is given no name.")
    if statement.value is not call or not isinstance(target, ast.Name | ast.Attribute):
        raise Unplaced(f"{file.name}, line {statement.lineno}: the optimiser is given no name.")
    return file.words(target)
