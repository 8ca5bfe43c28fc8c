"""A working directory in which somebody's script can be run many times without touching anything of theirs.

It is run in a mirror of the file system: it reads what was there before; what it writes, it alone sees. Three things
make that hold, in this process and those that it forks:

- an audit hook, by which Python tells of each file before it is opened or changed;
- wrappers around ``open`` and the functions of ``os``, which lead paths that name the original directory into the
  mirror, and show the mirror's links as what they stand for (else ``Path(__file__).resolve()`` would lead out of it and
  ``os.walk`` would not enter it);
- wrappers around writers in other languages, of which Python is not told (``WRITERS``).

What is not kept apart: other such writers (h5py, OpenCV), programs that the script starts, and child processes that it
spawns rather than forks, where they overwrite what was there before or write into a subdirectory of before; what they
make anew in the working directory itself lies in the mirror. Then absolute paths outside the original directory, and
files opened for writing relative to a ``dir_fd``.
"""

import builtins
import functools
import glob
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from isometry.adapters.mirror import Change, Listing, Mirror

__all__ = ["Scratch", "original"]

CHANGES: dict[str, tuple[tuple[int, Change], ...]] = {
    "os.chdir": ((0, "folder"),),
    "os.chflags": ((0, "whole"),),
    "os.chmod": ((0, "whole"),),
    "os.chown": ((0, "whole"),),
    "os.link": ((0, "whole"), (1, "way")),
    "os.mkdir": ((0, "folder"),),  # is it there already? then the script is about to write into it
    "os.remove": ((0, "way"),),
    "os.removexattr": ((0, "whole"),),
    "os.rename": ((0, "folder"), (1, "folder")),
    "os.rmdir": ((0, "folder"),),
    "os.setxattr": ((0, "whole"),),
    "os.symlink": ((1, "way"),),
    "os.truncate": ((0, "whole"),),
    "os.utime": ((0, "whole"),),
    "shutil.rmtree": ((0, "folder"),),
    "sqlite3.connect": ((0, "whole"),),
    "subprocess.Popen": ((2, "folder"),),
}
"""Audit events: which arguments are paths, and what must be real of them. ``open`` says it by its flags."""

EVENTS = frozenset({"open", *CHANGES})
PATHS = (str, bytes, os.PathLike)

WRITERS: dict[str, tuple[tuple[str, int, Change | None], ...]] = {
    "safetensors": (("serialize_file", 1, "empty"),),
    "torch": (
        ("_C.PyTorchFileWriter", 0, "empty"),
        ("jit.save", 1, "empty"),
        ("jit.RecursiveScriptModule.save", 1, "empty"),
        ("load", 0, None),  # reads by itself where it is asked for mmap
    ),
}
"""By module: what opens files untold, the position of its path, and what must be real of it."""

PATH_FUNCTIONS = (
    *("access", "chdir", "chflags", "chmod", "chown", "getxattr", "lchmod", "lchown", "link", "listdir", "listxattr"),
    *("lstat", "mkdir", "mkfifo", "mknod", "open", "readlink", "remove", "removexattr", "rename", "replace", "rmdir"),
    *("setxattr", "stat", "statvfs", "symlink", "truncate", "unlink", "utime"),
)


_entered: list["Scratch"] = []
"""The one that this process works in, if any."""


def original(path: str) -> str:
    """What an absolute path stands for, where it lies in the mirror that this process works in; else itself."""
    folder = _entered[-1].mirror.folder if _entered else ""
    return path[len(folder) :] if folder and path.startswith(folder + os.sep) else path


class Scratch:
    """A mirror to work in. Make one for each run, in the process that runs the script.

    Args:
        folder: where it is made; nothing may be there yet. The caller removes it.
        origin: the directory in which the script would be run.

    Raises:
        IsometryError: symbolic links cannot be made there.
    """

    def __init__(self, folder: Path, origin: Path) -> None:
        self.mirror = Mirror(folder, origin)
        self._is_entered = False

    def mirrored(self, path: Path) -> Path:
        """Where a path lies in the mirror. A relative one is taken from the original directory."""
        absolute = os.path.normpath(Path(self.mirror.origin, path))
        inside = self.mirror.inside(absolute)
        return Path(inside if inside.startswith(self.mirror.folder) else self.mirror.folder + absolute)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The process works in the mirror. What is written after this, by exit handlers too, is not kept apart."""
        leave = self.enter()
        try:
            yield
        finally:
            leave()

    def enter(self) -> Callable[[], None]:
        """Work in the mirror from now on; what is given ends that, and need not be called."""
        before, finder = Path.cwd(), _AfterImport(self._guard)
        opening = _Wrapped(self, io.open)
        changed: list[tuple[Any, str, Any]] = [(io, "open", opening), (builtins, "open", opening)]
        changed += [(os, name, _Wrapped(self, getattr(os, name))) for name in PATH_FUNCTIONS if hasattr(os, name)]
        lists = [os, *filter(None, [getattr(glob, "_StringGlobber", None)])]  # Python 3.13 keeps its own for pathlib
        changed += [(holder, "scandir", _Scandir(self, os.scandir)) for holder in lists]
        originals = [getattr(holder, name) for holder, name, _ in changed]
        # For the life of the process, so it does nothing once this is left. A function costs a third of a method here.
        sys.addaudithook(lambda event, arguments: self._on_event(event, arguments) if event in EVENTS else None)
        os.chdir(self.mirrored(Path()))
        self._is_entered = True
        _entered.append(self)
        for holder, name, replacement in changed:
            setattr(holder, name, replacement)
        sys.meta_path.insert(0, finder)
        for name in WRITERS.keys() & sys.modules.keys():
            self._guard(sys.modules[name])

        def leave() -> None:
            self._is_entered = False
            _entered.remove(self)
            sys.meta_path.remove(finder)
            for (holder, name, _), original in zip(changed, originals, strict=True):
                setattr(holder, name, original)
            os.chdir(before)

        return leave

    @property
    def is_watching(self) -> bool:
        """Entered, and not in the middle of our own work."""
        return self._is_entered and not self.mirror.is_at_work

    def redirected(self, path: Any) -> Any:
        """The same path, or its place in the mirror if it names something in the original directory."""
        if not isinstance(path, PATHS):
            return path
        words = os.fsdecode(path)
        if ".." in words:  # the system goes up from where a link leads to: so there must be none before it
            self.mirror.make_real(words[: words.rindex("..") + 2], "way")
        inside = self.mirror.inside(words)
        if inside == words:
            return path
        return os.fsencode(inside) if isinstance(path, bytes) else inside

    def looked_at(self, path: Any) -> Any:
        """As ``redirected``, but a link of the mirror gives what it stands for."""
        place = self.redirected(path)
        return self.mirror.shown(place) or place if isinstance(place, PATHS) else place

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raises only where a copy cannot be made: what was there before would be overwritten otherwise."""
        if event == "open":
            change = _change_by_opening(*arguments)
            if change is not None and self.is_watching:
                self.mirror.make_real(arguments[0], change)
        elif self.is_watching:
            for position, change in CHANGES[event]:
                self.mirror.make_real(arguments[position], change)

    def _guard(self, module: ModuleType) -> None:
        for dotted, position, change in WRITERS[module.__name__]:
            *holders, name = dotted.split(".")
            holder = functools.reduce(getattr, holders, module)
            setattr(holder, name, self._guarded(getattr(holder, name), position, change))

    def _guarded(self, writer: Callable[..., Any], position: int, change: Change | None) -> Callable[..., Any]:
        @functools.wraps(writer)
        def guarded(*arguments: Any, **named: Any) -> Any:
            if self.is_watching and len(arguments) > position:
                place = self.redirected(arguments[position])
                arguments = (*arguments[:position], place, *arguments[position + 1 :])
                if change is not None:
                    self.mirror.make_real(place, change)
            return writer(*arguments, **named)

        return guarded


def _change_by_opening(path: Any, mode: str | None, flags: int) -> Change | None:
    if flags & os.O_CREAT and flags & os.O_EXCL:
        return "way"
    if flags & os.O_TRUNC:
        return "empty"
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return "whole"
    return "folder" if mode is None else None  # os.open: what is done with a directory's descriptor is not told


class _Wrapped:
    """A function that takes paths, which it leads into the mirror. An object: a function would bind in classes."""

    def __init__(self, scratch: Scratch, original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)
        self.__module__ = "io" if original is io.open else "os"  # where pickle finds it
        self.scratch = scratch
        self.original = original
        self.name = original.__name__

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if not self.scratch.is_watching or named.get("dir_fd") is not None:
            return self.original(*arguments, **named)
        looks = self.name in ("lstat", "readlink") or (self.name == "stat" and not named.get("follow_symlinks", True))
        place = self.scratch.looked_at if looks else self.scratch.redirected
        return self.original(*map(place, arguments), **{name: place(value) for name, value in named.items()})

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.original

    def __hash__(self) -> int:
        """That of the original, so that ``os.stat in os.supports_dir_fd`` stays true."""
        return hash(self.original)

    def __reduce__(self) -> str:
        return self.name


class _Scandir(_Wrapped):
    def __call__(self, path: Any = ".") -> Any:
        if not self.scratch.is_watching or not isinstance(path, (str, os.PathLike)):
            return self.original(path)
        return Listing(os.fspath(path), self.original(self.scratch.redirected(path)), self.scratch.mirror)


class _AfterImport(MetaPathFinder):
    """Calls back when a module of ``WRITERS`` has just been imported."""

    def __init__(self, imported: Callable[[ModuleType], None]) -> None:
        self.imported = imported
        self.is_asking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in WRITERS or self.is_asking:  # another one that asks all others
            return None
        self.is_asking = True
        later = sys.meta_path[sys.meta_path.index(self) + 1 :]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in later)), None)
        self.is_asking = False
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Loader) -> None:
        earlier = dict(vars(loader))  # another finder may follow the same import

        def load_and_tell(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            vars(loader).update(earlier)
            loader.exec_module(module)
            self.imported(module)

        loader.exec_module = load_and_tell  # type: ignore[method-assign]
