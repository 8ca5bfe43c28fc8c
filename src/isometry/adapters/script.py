"""Runs a training script that knows nothing of isometry: watched to its end, or followed to its first training step.

The script must not be able to tell: it is ``__main__``, with its own arguments, folder and traceback. So this file does
by hand what the interpreter does with ``python train.py`` and ``python -m package.module``.

The framework is attached when the script imports it, never earlier.
"""

import importlib.util
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import groupby
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, Generic, Protocol, TypeVar

from isometry.adapters.framework import FRAMEWORKS, Capture, Framework, Treatment, Watch, load_adapter
from isometry.adapters.scratch import original
from isometry.errors import UnsupportedModel

__all__ = ["CaptureOutcome", "ScriptOutcome", "capture_script", "forget_our_frames", "run_script"]

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended: 128 + SIGINT."""

ADAPTERS = str(Path(__file__).resolve().parent) + os.sep


@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """How a script ended. Its traceback, if there was one, has been printed already."""

    exit_code: int
    """What the process would have ended with without a watch."""
    watch: Watch | None
    """Closed; None if the script never imported a framework that isometry knows."""
    trouble: str | None = None
    """Why isometry could not watch although it should have; it has been said already."""
    treatment: Treatment | None = None
    """Closed; None where none was asked for, or nothing was watched."""
    ending: str = "finished"
    """In the words of the run's last event."""
    forked: bool = False
    """True in a child process that the script forked and that came back here: leave at once, print nothing."""


@dataclass(frozen=True, slots=True)
class CaptureOutcome:
    """What a script was about to do in its first training step, or how it ended without one."""

    exit_code: int
    """What the process would have ended with; 0 where the first step was reached."""
    captured: Any = None
    """What ``api.check_captured`` takes; None if no training step was met."""
    uses_framework: bool = False
    """The script imported a framework that isometry knows."""
    trouble: str | None = None
    """Why nothing was captured although it should have been."""
    forked: bool = False
    """As in ``ScriptOutcome``."""


@dataclass(frozen=True, slots=True)
class _Program:
    """A script that has been found but not compiled yet."""

    main: ModuleType
    compiled: Callable[[], CodeType]
    folder: str
    """What the interpreter would put first on ``sys.path``."""
    argument: str
    """What it would put into ``sys.argv[0]``."""


def run_script(
    script: str,
    arguments: Sequence[str] = (),
    *,
    run: Callable[[], Path],
    module: bool = False,
    budget: float = 0.01,
    every: int | None = None,
    treat: Callable[[Framework], Treatment] | None = None,
    warn: Callable[[str], None] | None = None,
) -> ScriptOutcome:
    """Run a script to its end as the interpreter would, and watch the training in it.

    It takes the process over: ``__main__`` becomes the script's and stays so for its exit handlers and pickles, and its
    last thread has ended when this returns, as at the end of any program. So call it once, near the end of a process.

    Args:
        script: path of a Python file, or with ``module`` the name after ``python -m``.
        arguments: the script's own arguments.
        run: asked once for the folder of the run, when the script has been found; not called if there is none.
        module: whether ``script`` is a module's name.
        budget: the greatest share of step time that watching may cost. [fraction]
        every: record each ``every``-th step; None lets the budget decide.
        treat: changes the training, once its framework is there.
        warn: told in one sentence if isometry itself fails; training goes on then.

    Raises:
        UnsupportedModel: there is no such script.
    """
    folder: list[Path] = []

    def attach(framework: str) -> _Watched:
        adapter = load_adapter(framework)
        watch = adapter.watch_process(
            run=folder[0], budget=budget, every=every, provenance={"command": [original(script), *arguments]}
        )
        return _Watched(watch, treat(adapter) if treat is not None else None)

    def begin() -> None:
        folder.append(run().absolute())  # the script may change its working directory

    guests = _Guests(attach, lambda guest: guest.has_enough, warn or _to_stderr)
    exit_code, ending, forked = _visited(script, arguments, module, guests, begin)
    guest = guests.guest
    if forked or guest is None:
        return ScriptOutcome(exit_code, None, guests.trouble, ending=ending, forked=forked)
    return ScriptOutcome(exit_code, guest.watch, guests.trouble, guest.treatment, ending)


def capture_script(
    script: str,
    arguments: Sequence[str] = (),
    *,
    module: bool = False,
    begin: Callable[[], None] | None = None,
    swallowed: Callable[[CaptureOutcome], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> CaptureOutcome:
    """Run a script until it is about to take its first training step, and leave it there.

    It is left by an exception: what the script does on the way out (``finally``, exit handlers) is done. All else is as
    in ``run_script``.

    Args:
        script: path of a Python file, or with ``module`` the name after ``python -m``.
        arguments: the script's own arguments.
        module: whether ``script`` is a module's name.
        begin: called when the script has been found.
        swallowed: gets the outcome where the script catches that exception again and again; it is called in the
            script's own frames, and ends the process.
        warn: told in one sentence if isometry itself fails.

    Raises:
        UnsupportedModel: there is no such script.
    """
    path = list(sys.path)

    def attach(framework: str) -> Capture:
        capture = load_adapter(framework).capturing()

        def hand_over() -> None:
            assert swallowed is not None
            sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
            swallowed(CaptureOutcome(0, capture.captured, uses_framework=True, trouble=capture.trouble))

        capture.swallowed = hand_over if swallowed is not None else None
        return capture

    guests = _Guests(attach, lambda capture: capture.is_reached, warn or _to_stderr)
    exit_code, _, forked = _visited(script, arguments, module, guests, begin or (lambda: None))
    capture = guests.guest
    if forked or capture is None:
        return CaptureOutcome(exit_code, trouble=guests.trouble, forked=forked)
    return CaptureOutcome(exit_code, capture.captured, uses_framework=True, trouble=guests.trouble or capture.trouble)


class _Closes(Protocol):
    """What isometry attaches to a framework."""

    def close(self, ending: str = "finished") -> None: ...


@dataclass(frozen=True, slots=True)
class _Watched:
    """A watch, and what changes the training that it watches."""

    watch: Watch
    treatment: Treatment | None

    @property
    def has_enough(self) -> bool:
        return self.treatment is not None and self.treatment.is_reached

    def close(self, ending: str = "finished") -> None:
        self.watch.close(ending)
        if self.treatment is not None:
            self.treatment.close(ending)


Guest = TypeVar("Guest", bound=_Closes)


class _Guests(Generic[Guest]):
    """What is attached in this process: nothing until the script imports a framework, then one guest.

    Args:
        attach: gives the guest for a framework, by the name of its root module.
        has_enough: whether the guest has made the script end.
        warn: told in one sentence if isometry itself fails.
    """

    def __init__(
        self, attach: Callable[[str], Guest], has_enough: Callable[[Guest], bool], warn: Callable[[str], None]
    ) -> None:
        self._attach = attach
        self._has_enough = has_enough
        self._warn = warn
        self.process = os.getpid()
        self.guest: Guest | None = None
        self.trouble: str | None = None

    @property
    def have_enough(self) -> bool:
        """However the script ends now, it is our doing."""
        return self.guest is not None and self._has_enough(self.guest)

    def attach(self, framework: str) -> None:
        """Begin. Whatever goes wrong in here is told and costs the user the guest, never the training."""
        if self.guest is not None or os.getpid() != self.process:
            return
        try:
            self.guest = self._attach(framework)
        except Exception as fault:  # noqa: BLE001  nothing of ours may end the user's training
            self.trouble = f"This training is not watched: {type(fault).__name__}: {fault}"
            self._warn(self.trouble)

    def close(self, ending: str) -> None:
        """Let the guest go; a watch finishes its files."""
        if self.guest is None:
            return
        try:
            self.guest.close(ending)
        except Exception as fault:  # noqa: BLE001  the script's own exit code must survive
            self._warn(f"The run could not be finished properly: {type(fault).__name__}: {fault}")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Attach as soon as a framework has been imported; now, where it has been already."""
        finder = _AfterImport(FRAMEWORKS, self.attach)
        for framework in FRAMEWORKS:
            if framework in sys.modules:
                self.attach(framework)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)


class _AfterImport(MetaPathFinder):
    """Calls back when one of the named modules has just been imported completely."""

    def __init__(self, names: Sequence[str], imported: Callable[[str], None]) -> None:
        self.names = frozenset(names)
        self.imported = imported

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find it, and make its loader tell us when it is done."""
        if name not in self.names:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            self._follow(name, spec.loader)
        return spec

    def _follow(self, name: str, loader: Loader) -> None:
        # The loader was made for this one import, so an attribute of the instance reaches nobody else; replacing the
        # loader would be visible in the module's __spec__ to whoever inspects or pickles it.
        load = loader.exec_module

        def load_and_tell(module: ModuleType) -> None:
            del loader.exec_module
            load(module)
            self.imported(name)

        loader.exec_module = load_and_tell  # type: ignore[method-assign]


@contextmanager
def _as_the_script(arguments: Sequence[str]) -> Iterator[None]:
    """``sys`` as a script finds it.

    Afterwards what the script put on ``sys.path`` comes last: its exit handlers still find its modules, and a file
    ``html.py`` in its folder is not taken for the standard library's when the report is written.
    """
    path, hook = list(sys.path), sys.excepthook
    sys.argv = [sys.argv[0], *arguments]
    sys.excepthook = sys.__excepthook__
    try:
        yield
    finally:
        sys.excepthook = hook
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]


def _visited(
    script: str, arguments: Sequence[str], module: bool, guests: _Guests[Any], begin: Callable[[], None]
) -> tuple[int, str, bool]:
    """The script's exit code, how it ended, and whether this is a child process that it forked."""
    with _as_the_script(arguments):
        exit_code, ending = _executed(script, module, guests, begin)
        if os.getpid() != guests.process:
            return exit_code, ending, True
        if not guests.have_enough:  # a script that was left may have threads that wait for it for ever
            _wait_for_threads()
        guests.close(ending)
    return exit_code, ending, False


def _executed(script: str, module: bool, guests: _Guests[Any], begin: Callable[[], None]) -> tuple[int, str]:
    """The script's exit code, and how it ended in the words of the run's last event."""
    try:
        program = (_module if module else _file)(script)
    except UnsupportedModel:
        raise
    except BaseException as fault:  # noqa: BLE001  the package of a module is the user's code too
        return _ended_by(fault)
    begin()
    try:
        _execute(program, guests)
    except BaseException as fault:  # noqa: BLE001  as the interpreter does at the end of a script
        if not guests.have_enough:
            return _ended_by(fault)
    return 0, "finished"


def _execute(program: _Program, guests: _Guests[Any]) -> None:
    sys.argv[0] = program.argument
    if not sys.flags.safe_path:
        sys.path[0] = program.folder
    sys.modules["__main__"] = program.main
    with guests.waiting():
        exec(program.compiled(), program.main.__dict__)


def _ended_by(fault: BaseException) -> tuple[int, str]:
    return _left(fault) if isinstance(fault, SystemExit) else _failed(fault)


def _wait_for_threads() -> None:
    """Let the script's threads end, so that a training in one of them is watched to its end.

    This is what the interpreter itself calls when a program's main thread is done (Python 3.11 to 3.14). Joining the
    threads by hand would wait for ever: idle pools of ``concurrent.futures`` end only when it is called.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        _to_stderr("Interrupted while waiting for the script's threads.")


def _left(leaving: SystemExit) -> tuple[int, str]:
    """What ``sys.exit(x)`` means: None is 0, an int is itself, anything else is printed and means 1."""
    if leaving.code is None:
        return 0, "finished"
    if isinstance(leaving.code, int):
        exit_code = int(leaving.code) & 0xFF
        return exit_code, f"exception: SystemExit: {exit_code}" if exit_code else "finished"
    _to_stderr(str(leaving.code))
    return 1, f"exception: SystemExit: {leaving.code}"


def _failed(fault: BaseException) -> tuple[int, str]:
    forget_our_frames(fault)
    exit_code = _told(fault)
    if isinstance(fault, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    return exit_code, f"exception: {''.join(traceback.format_exception_only(fault)).strip()}"


def _told(fault: BaseException) -> int:
    """Print it the way the script wants it: it may have put its own ``sys.excepthook``, which may leave as it likes."""
    try:
        sys.excepthook(type(fault), fault, fault.__traceback__)
    except SystemExit as leaving:
        return _left(leaving)[0]
    except Exception:  # noqa: BLE001  a broken hook of the script: the interpreter prints both
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
        traceback.print_exc()
    return 1


def forget_our_frames(fault: BaseException) -> None:
    """Take the frames of this folder out of a traceback and of those that it is chained to."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [fault]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        link.__traceback__ = _without_our_frames(link.__traceback__)
        waiting += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    links = []
    while trace is not None:
        links.append(trace)
        trace = trace.tb_next
    kept = [link for group in _by_owner(links) if not any(map(_is_ours, group)) for link in group]
    for link in reversed(kept):
        trace = TracebackType(trace, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return trace


def _by_owner(links: list[TracebackType]) -> Iterator[list[TracebackType]]:
    """Runs of frames of ours and of the import system: where ours stand in an import, both go, as in a plain one."""
    for inside, group in groupby(links, key=lambda link: _is_ours(link) or _imports(link)):
        if inside:
            yield list(group)
        else:
            yield from ([link] for link in group)


def _is_ours(link: TracebackType) -> bool:
    return link.tb_frame.f_code.co_filename.startswith(ADAPTERS)


def _imports(link: TracebackType) -> bool:
    return link.tb_frame.f_code.co_filename.startswith("<frozen importlib")


def _file(script: str) -> _Program:
    """What ``python script`` finds."""
    path = Path(script)
    if path.is_dir():
        raise UnsupportedModel(f"{script} is a folder, but a Python file is needed. Name the script inside it.")
    if not path.is_file():
        raise UnsupportedModel(
            f"There is no file {script} in {Path.cwd()}. Name the training script, or say -m for a module's name."
        )
    # The interpreter joins without tidying the path up, and resolves links only for sys.path.
    place = os.path.join(Path.cwd(), script)  # noqa: PTH118
    loader = SourceFileLoader("__main__", place)
    main = _main_module(file=place, loader=loader, spec=None, package=None)
    return _Program(main, partial(_compiled, path), str(path.resolve().parent), script)


def _compiled(path: Path) -> CodeType:
    place = os.path.join(Path.cwd(), path)  # noqa: PTH118
    return compile(path.read_bytes(), place, "exec", dont_inherit=True)


def _module(name: str) -> _Program:
    """What ``python -m name`` finds. Parent packages are imported on the way, as there."""
    sys.argv[0] = "-m"
    if not sys.flags.safe_path:
        sys.path[0] = str(Path.cwd())
    spec = _spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"
        spec = _spec(name)
    loader: Any = None if spec is None else spec.loader
    if spec is None or not hasattr(loader, "get_code"):
        raise UnsupportedModel(
            f"There is no module {name} to run. Name it as after `python -m`; it is looked for in {Path.cwd()} first."
        )
    main = _main_module(file=spec.origin, loader=loader, spec=spec, package=spec.parent)
    return _Program(main, lambda: loader.get_code(spec.name), sys.path[0], spec.origin or name)


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and (name == missing.name or name.startswith(f"{missing.name}.")):
            return None
        raise


def _main_module(*, file: str | None, loader: object, spec: ModuleSpec | None, package: str | None) -> ModuleType:
    main = ModuleType("__main__")
    main.__dict__.update(
        __annotations__={},
        __builtins__=sys.modules["builtins"],
        __cached__=None if spec is None else spec.cached,
        __file__=file,
        __loader__=loader,
        __package__=package,
        __spec__=spec,
    )
    return main


def _to_stderr(words: str) -> None:
    print(words, file=sys.stderr)
