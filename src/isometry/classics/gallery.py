"""Runs classics, one or all, in this process or in several; what is done already is not done again."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from isometry.classics import page
from isometry.classics.classic import Classic, Study, classics
from isometry.classics.result import Result, keep, kept
from isometry.errors import IsometryError

__all__ = ["Order", "find_classic", "make_folder", "run_all", "run_one", "write_gallery"]

Say = Callable[[str], None]
LOOK_EVERY = 1.0
"""Seconds between two looks of a worker whether its parent is still there."""
Images = Literal["digits", "mnist"]


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of a classic."""

    out: Path
    """Each classic has its folder in it."""
    seeds: int = 20
    fast: bool = False
    images: Images = "digits"
    again: bool = False
    """Run it even if the same result is there already."""

    def study(self, classic: Classic, say: Say) -> Study:
        """The study of one classic."""
        return Study(
            self.out / classic.name, seeds=tuple(range(self.seeds)), fast=self.fast, images=self.images, say=say
        )


def find_classic(name: str) -> Classic:
    """A classic by its name.

    Raises:
        IsometryError: none has that name.
    """
    for one in classics():
        if one.name == name:
            return one
    raise IsometryError(
        f"No classic is called {name!r}. `isometry classic` lists the {len(classics())} there are: "
        f"{', '.join(one.name for one in classics())}."
    )


def run_one(classic: Classic, order: Order, say: Say) -> Result:
    """Run a classic, or open its result if it is there already."""
    study = order.study(classic, say)
    found = None if order.again else kept(classic, study)
    if found is not None:
        return found
    make_folder(study.folder)
    _remove_runs(study.runs)
    started = time.perf_counter()
    with _one_thread():
        exhibit = classic(study)
    seconds = time.perf_counter() - started
    result = keep(classic, study, exhibit, section=page.section(classic, exhibit), seconds=seconds)
    (study.folder / "report.html").write_text(page.page(result), encoding="utf-8")
    return result


def make_folder(folder: Path) -> None:
    """Make the folder and those above it.

    Raises:
        IsometryError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise IsometryError(
            f"{folder} cannot be written ({fault.strerror or fault}). Name another folder with --out."
        ) from None


def run_all(order: Order, say: Say, *, processes: int) -> Iterator[Result]:
    """Run every classic, several at a time; results come as they are ready."""
    waiting = list(classics())
    done = [] if order.again else [one for one in waiting if kept(one, order.study(one, say)) is not None]
    for one in done:
        waiting.remove(one)
        yield run_one(one, order, say)
    if not waiting:
        return
    with ProcessPoolExecutor(
        min(processes, len(waiting)),
        mp_context=get_context("spawn"),
        initializer=_end_with_parent,
        initargs=(os.getpid(),),
    ) as pool:
        try:
            running = [pool.submit(_run_by_name, one.name, order) for one in waiting]
            for ended in as_completed(running):
                yield ended.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent(parent: int) -> None:
    """A worker whose parent was killed ends as well; nobody would take its result."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _run_by_name(name: str, order: Order) -> Result:
    return run_one(find_classic(name), order, lambda words: None)


def write_gallery(results: Sequence[Result], order: Order) -> Path:
    """All results on one page, in the order of the shelf."""
    places = {one.name: place for place, one in enumerate(classics())}
    path = order.out / "index.html"
    path.write_text(page.gallery(sorted(results, key=lambda result: places[result.name])), encoding="utf-8")
    return path


def _remove_runs(folder: Path) -> None:
    """Make room for the runs of this time; what is no run stays."""
    for run in folder.glob("*"):
        if (run / "events.jsonl").is_file():
            shutil.rmtree(run)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same sums in the same order wherever it runs; the tensors are too small for more threads anyway."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
