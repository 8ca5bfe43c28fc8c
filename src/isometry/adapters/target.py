"""The experiment that ``file.py:name`` or ``package.module:name`` stands for."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from isometry.adapters.script import forget_our_frames
from isometry.errors import IsometryError
from isometry.network.experiment import Experiment

__all__ = ["load_experiment", "names_experiment"]

LISTED = 12
"""Experiments of a module that a message lists."""


def names_experiment(target: str) -> bool:
    """Whether this is ``file.py:name`` or ``package.module:name``, and not a script."""
    place, colon, name = target.rpartition(":")
    return bool(colon and place) and name.isidentifier() and not Path(target).exists()


def load_experiment(target: str) -> Experiment:
    """Import what stands before the colon and take the experiment that stands behind it.

    As for a script, modules beside the file are found; for a module's name, those in the present folder. They can be
    imported from there ever after, for an experiment may import late.

    Args:
        target: ``file.py:name`` or ``package.module:name``; the name is an ``Experiment``, or a function without
            arguments that gives one.

    Raises:
        IsometryError: there is no such file, module or name, it is something else, or its own code fails; then its
            traceback has been printed.
    """
    place, _, name = target.rpartition(":")
    module = _imported_file(Path(place)) if place.endswith(".py") else _imported_module(place)
    if not hasattr(module, name):
        raise IsometryError(f"There is no {name} in {place}. {_offered(module, place)}")
    value = getattr(module, name)
    if callable(value) and not isinstance(value, type | Experiment):
        value = _called(value, target)
    if not isinstance(value, Experiment):
        raise IsometryError(
            f"{target} is {_kind(value)}, and an isometry.network.experiment.Experiment is needed, or a function "
            f"without arguments that returns one. {_offered(module, place)}"
        )
    return value


def _imported_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise IsometryError(f"There is no file {path} in {Path.cwd()}. Name the file that holds the experiment.")
    _search_first(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as fault:  # noqa: BLE001  whatever ends the user's file
        if before is not None:
            sys.modules[path.stem] = before
        raise _told(fault, f"{path} could not be imported") from None
    return module


def _imported_module(name: str) -> ModuleType:
    _search_first(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and (name == missing.name or name.startswith(f"{missing.name}.")):
            raise IsometryError(
                f"There is no module {name}; it is looked for in {Path.cwd()} first. Name it as in an import, or name "
                "its file: path/to/file.py:name."
            ) from None
        raise _told(missing, f"{name} could not be imported") from None
    except BaseException as fault:  # noqa: BLE001  whatever ends the user's module
        raise _told(fault, f"{name} could not be imported") from None


def _search_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _called(function: object, target: str) -> object:
    assert callable(function)
    try:
        return function()
    except BaseException as fault:  # noqa: BLE001  whatever ends the user's function
        raise _told(fault, f"{target} could not be called without arguments") from None


def _told(fault: BaseException, words: str) -> BaseException:
    """The message, once the traceback of the user's own code has been printed."""
    if isinstance(fault, KeyboardInterrupt):
        return fault
    forget_our_frames(fault)
    traceback.print_exception(fault)
    return IsometryError(f"{words}: {''.join(traceback.format_exception_only(fault)).strip()}")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _offered(module: ModuleType, place: str) -> str:
    found = [name for name, value in vars(module).items() if isinstance(value, Experiment)]
    if not found:
        return "Put one there: experiment = Experiment(build, data, loss_fn, optimizer)."
    return f"Name one of these: {', '.join(f'{place}:{name}' for name in found[:LISTED])}."
