"""A mirror of the file system, made of symbolic links that become real before something in it is changed.

It is real down to one directory and links beyond, so making it lists that directory and those above it, and nothing
else. A change below a link makes directories of links on the way; a file that is changed becomes a copy.
"""

import os
import shutil
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from isometry.errors import IsometryError

try:
    import fcntl
except ImportError:  # Windows, where links cannot be made without rights either
    fcntl = None  # type: ignore[assignment]

__all__ = ["Change", "Listing", "Mirror"]

# Paths are text here: pathlib tidies them up, and a script's "a/../b" must be walked as it is written.
# ruff: noqa: PTH100, PTH103, PTH104, PTH105, PTH108, PTH109, PTH112, PTH113, PTH114, PTH115, PTH116, PTH118, PTH120
# ruff: noqa: PTH206, PTH211

_readlink = os.readlink
"""Itself: in a scratch directory ``os.readlink`` shows no links of the mirror."""

Change = Literal["way", "folder", "empty", "whole"]
"""What must be real: the way to a path; also itself if it is a directory; also a file, but empty; with its content."""

MARK = f"{os.sep}.{os.sep}"
"""Begins the target of each link of the mirror: ``/./home`` is ``/home``, and nobody else spells it so."""

MOST_LINKS = 40
"""After so many links the system gives a path up."""


class Mirror:
    """The mirror, and where things lie in it.

    Args:
        folder: where it is made; nothing may be there yet.
        origin: the directory down to which it is real at once.

    Raises:
        IsometryError: symbolic links cannot be made there.
    """

    def __init__(self, folder: Path, origin: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.origin = os.path.realpath(origin)
        self._names = tuple({self.origin, os.path.abspath(origin)})
        self._work = threading.local()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_threads)
        try:
            self._link_all(os.sep, self.folder)
            self._reach(self.origin)
        except (OSError, NotImplementedError) as fault:
            raise IsometryError(
                f"{folder} could not be made a mirror of {origin}: {fault}. It must be a new folder on a file system "
                "that has symbolic links. Choose another one; on Windows run under WSL."
            ) from None

    @property
    def is_at_work(self) -> bool:
        """This thread is making something real."""
        return getattr(self._work, "is_going_on", False)

    def inside(self, path: str) -> str:
        """A path that names something in the origin, as one in the mirror; any other path as it is."""
        if not path.startswith(self._names) or _is_below(path, self.folder):
            return path
        name = next((name for name in self._names if _is_below(path, name)), None)
        return path if name is None else self.folder + self.origin + path[len(name) :]

    def shown(self, path: Any) -> str | None:
        """What a link is shown as: the original of the same name. Not in another mirror, which may lie in this one."""
        original = _stands_for(path)
        return original if original and os.path.abspath(os.fsdecode(path)) == self.folder + original else None

    def make_real(self, path: Any, change: Change) -> None:
        """Before a change. Links that others made are followed, as the system will do.

        Raises:
            OSError: a copy cannot be made, on a full disk say.
        """
        if self.is_at_work or not isinstance(path, (str, bytes, os.PathLike)):
            return
        place = self.inside(os.path.join(os.getcwd(), os.fsdecode(path)))
        if not _is_below(place, self.folder):
            return
        self._work.is_going_on = True
        try:
            with self._alone():
                self._walk(place[len(self.folder) :].split(os.sep), change)
        finally:
            self._work.is_going_on = False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process at a time: between a link that goes and a directory that comes there is nothing."""
        with self._lock, Path(self.folder, ".lock").open("ab") as file:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX)  # it ends with the file, and is not inherited by forked processes
            yield

    def _forget_threads(self) -> None:
        """In a forked process only the thread lives on that forked it."""
        self._lock = threading.Lock()

    def _walk(self, waiting: list[str], change: Change) -> None:
        here, followed = self.folder, 0
        while waiting and followed < MOST_LINKS:
            part = waiting.pop(0)
            if part in ("", "."):
                continue
            here = os.path.dirname(here) if part == ".." else f"{here}{os.sep}{part}"
            if not _is_below(here, self.folder):
                return
            original = _stands_for(here)
            if original is not None:
                self._replace(here, original, "folder" if waiting else change)
            elif os.path.islink(here) and (waiting or change in ("empty", "whole")):
                target = os.path.join(os.path.dirname(here), os.readlink(here))
                if not _is_below(target, self.folder):
                    return
                here, followed = self.folder, followed + 1
                waiting = [*target[len(self.folder) :].split(os.sep), *waiting]

    def _reach(self, directory: str) -> None:
        here = self.folder
        for part in Path(directory).parts[1:]:
            here = f"{here}{os.sep}{part}"
            original = here[len(self.folder) :]
            if not os.path.lexists(here):  # of a directory that may be passed but not listed
                os.symlink(MARK + original[1:], here)
            self._replace(here, original, "folder")

    def _replace(self, link: str, original: str, change: Change) -> None:
        """Built aside first, so that nobody meets a half of it. Another thread or process may be faster."""
        fresh = f"{self.folder}{os.sep}.{uuid.uuid4().hex}"
        if os.path.isdir(original) and change != "way":
            self._link_all(original, fresh)
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.unlink(link)
            try:
                os.rename(fresh, link)
            except OSError:
                shutil.rmtree(fresh)
        elif os.path.isfile(original) and change in ("empty", "whole"):
            if change == "whole":
                shutil.copy2(original, fresh)
            else:
                Path(fresh).touch()
                shutil.copymode(original, fresh)
            os.replace(fresh, link)

    def _link_all(self, source: str, folder: str) -> None:
        """Make a directory of links to all that is in another. Links within the mirror's reach lead on within it."""
        os.makedirs(folder, exist_ok=True)
        try:
            entries = list(os.scandir(source))
        except PermissionError:  # it may be passed but not listed, as /home on many clusters
            return
        for entry in entries:
            target = self.inside(os.readlink(entry.path)) if entry.is_symlink() else os.sep
            if target.startswith(os.sep) and not _is_below(target, self.folder):
                target = MARK + entry.path.removeprefix(os.sep)
            os.symlink(target, f"{folder}{os.sep}{entry.name}")


class Listing:
    """What ``os.scandir`` gives, the mirror's links shown as what they stand for.

    Args:
        folder: the directory, as the caller named it.
        entries: what ``os.scandir`` gave.
        mirror: whose links they may be.
    """

    def __init__(self, folder: str, entries: Any, mirror: Mirror) -> None:
        self.mirror = mirror
        self.folder = folder
        self.entries = entries
        self.close = entries.close

    def __iter__(self) -> "Listing":
        return self

    def __next__(self) -> Any:
        entry = next(self.entries)
        original = self.mirror.shown(entry.path) if entry.is_symlink() else None
        return entry if original is None else _Entry(self.folder, entry, original)

    def __enter__(self) -> "Listing":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()


class _Entry(os.PathLike[str]):
    """An ``os.DirEntry`` that is a link of the mirror and looks like what it stands for."""

    def __init__(self, folder: str, link: "os.DirEntry[str]", original: str) -> None:
        self.name = link.name
        self.path = os.path.join(folder, link.name)
        self.inode = link.inode
        self._original = original

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self._original, follow_symlinks=follow_symlinks)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._is(stat.S_ISDIR, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._is(stat.S_ISREG, follow_symlinks)

    def is_symlink(self) -> bool:
        return self._is(stat.S_ISLNK, False)

    def is_junction(self) -> bool:
        return False

    def _is(self, kind: Callable[[int], bool], follow_symlinks: bool) -> bool:
        try:
            return kind(self.stat(follow_symlinks=follow_symlinks).st_mode)
        except FileNotFoundError:
            return False


def _stands_for(path: Any) -> str | None:
    """What a link of a mirror stands for; None of anything else."""
    try:
        target = os.fsdecode(_readlink(path))
    except (OSError, ValueError):  # no link, or no path
        return None
    return os.sep + target[len(MARK) :] if target.startswith(MARK) else None


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
