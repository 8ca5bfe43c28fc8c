"""Several trainings at once, in processes of this machine.

Processes are spawned, because a fork of one that has used threads or a GPU hangs. A spawned process imports the main
script again, so a script starts its work under ``if __name__ == "__main__":``, as with all of ``multiprocessing``.

Everything is pickled once, here, by the plain pickler: that of ``multiprocessing`` sends tensors as handles of shared
memory, of which containers often have little.
"""

import atexit
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar, cast

from isometry.errors import IsometryError
from isometry.treatment.engines.serial import Serial

__all__ = ["Pool"]

Task = TypeVar("Task")
Result = TypeVar("Result")

PATIENCE = 2.0
"""How long a process that was told to end may take, before it is ended by force. [seconds]"""


class Pool:
    """The engine that uses the cores of this machine.

    Processes stay for the next tasks of the same function, because they are slow to start; ``close`` lets them go. With
    more than one worker all tasks run in these processes, even single ones, so that all have as many threads: with
    more or fewer, sums are rounded otherwise, and trainings drift apart.

    Args:
        workers: processes; one for each core if left out.
        say: gets one sentence where trainings have to run one after another in this process instead.
    """

    def __init__(self, workers: int | None = None, *, say: Callable[[str], None]) -> None:
        if workers is not None and workers < 1:
            raise IsometryError(f"workers={workers}: a whole number from 1 upwards is needed.")
        self._workers = workers if workers is not None else _cores()
        self._say = say
        self._crew: list[_Worker] = []
        self._function = b""
        self._alone = self._workers == 1

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, None]:
        if not self._alone and tasks:
            try:
                trouble = yield from self._sent_out(function, tasks)
            except BaseException:
                self.close()  # an interruption too leaves nothing running
                raise
            if not trouble:
                return
            self.close()
            self._alone = True
            self._say(
                f"Trainings run one after another, because the experiment cannot be sent to other processes: "
                f"{trouble}. To train several at once, define its functions and classes at the top level of a module, "
                'and begin what the script itself does with `if __name__ == "__main__":`.'
            )
        yield from Serial().map(function, tasks)

    def close(self) -> None:
        """End the processes. The next tasks start others."""
        crew, self._crew = self._crew, []
        _dismiss(crew)
        atexit.unregister(self.close)

    def _sent_out(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, str]:
        """Results from other processes; or, before there is any, why there will be none."""
        try:
            packed, *packed_tasks = [pickle.dumps(part) for part in (function, *tasks)]
        except Exception as fault:  # noqa: BLE001  whatever a user's object raises when it is pickled
            return str(fault)
        if packed != self._function:
            self.close()
            self._function = packed
        atexit.register(self.close)  # it comes before ``multiprocessing`` waits for children that wait for work
        missing = min(self._workers, len(tasks)) - len(self._crew)
        with _fair_share(self._workers):
            newcomers = [_hired(self._crew) for _ in range(missing)]
        trouble = _instructed(newcomers, packed)
        if not trouble:
            yield from _done(self._crew, packed_tasks)
        return trouble


def _cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows tell only what the machine has
        return os.cpu_count() or 1


# This side ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    pipe: "Connection[Any, Any]"


def _hired(crew: list[_Worker]) -> _Worker:
    """One more process in the crew."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # No daemon: one of those could have no children, which data loaders start.
    process = context.Process(target=_work, args=(theirs,), name="isometry-training")
    process.start()
    crew.append(_Worker(process, ours))
    theirs.close()  # so that the end of the process is the end of the pipe
    return crew[-1]


def _dismiss(crew: Sequence[_Worker]) -> None:
    for worker in crew:
        worker.process.terminate()
    for worker in crew:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()
        worker.pipe.close()


@contextmanager
def _fair_share(workers: int) -> Iterator[None]:
    """Numerical libraries start a thread for each core in every process, unless they are told beforehand."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, _cores() // workers))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _instructed(newcomers: Sequence[_Worker], function: bytes) -> str:
    """Give the function to every new process. Why one of them cannot have it; empty if all can."""
    try:
        for worker in newcomers:
            worker.pipe.send_bytes(function)
        answers = [worker.pipe.recv() for worker in newcomers]
    except (EOFError, OSError):
        ended = next((worker for worker in newcomers if not worker.process.is_alive()), newcomers[0])
        return f"one of them ended at once, with exit code {_exit_code(ended)}"
    return next((str(answer) for answer in answers if answer), "")


def _done(crew: Sequence[_Worker], tasks: Sequence[bytes]) -> Generator[tuple[int, Any], None, None]:
    """Hand out the tasks one by one, and give back what comes."""
    left = iter(enumerate(tasks))
    busy: dict[Connection[Any, Any], tuple[_Worker, int]] = {}
    for worker in crew:
        _hand(worker, left, busy)
    while busy:
        for ready in wait(list(busy)):
            worker, place = busy.pop(cast("Connection[Any, Any]", ready))
            try:
                well, answer = pickle.loads(worker.pipe.recv_bytes())
            except (EOFError, OSError):
                raise _died(worker) from None
            if not well:
                raise answer
            _hand(worker, left, busy)  # before the caller takes its time over the result
            yield place, answer


def _hand(
    worker: _Worker, left: Iterator[tuple[int, bytes]], busy: "dict[Connection[Any, Any], tuple[_Worker, int]]"
) -> None:
    for place, task in left:
        try:
            worker.pipe.send_bytes(task)
        except OSError:
            raise _died(worker) from None
        busy[worker.pipe] = worker, place
        return


def _died(worker: _Worker) -> IsometryError:
    return IsometryError(
        f"A process that trained ended with exit code {_exit_code(worker)} before its training did; −9 often means "
        f"that memory ran out. Start again with fewer processes, or one after another: what was finished is kept."
    )


def _exit_code(worker: _Worker) -> str:
    worker.process.join(PATIENCE)
    return str(worker.process.exitcode).replace("-", "−")


# The other side -------------------------------------------------------------------------------------------------------


def _work(pipe: "Connection[Any, Any]") -> None:
    """Carry out one task after another until the pipe ends."""
    # A terminal sends Ctrl-C to all processes: the one that started us decides, and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        packed = pipe.recv_bytes()
        try:
            function = pickle.loads(packed)
        except Exception as fault:  # noqa: BLE001  whatever a user's module raises when it is imported
            pipe.send(f"{type(fault).__name__}: {fault}")
            return
        pipe.send("")
        while True:
            pipe.send_bytes(_answer(function, pipe.recv_bytes()))
    except (EOFError, OSError):
        return  # nobody waits for an answer any more


def _answer(function: Callable[[Any], Any], task: bytes) -> bytes:
    """What the function gives, or raises, ready to be sent."""
    try:
        return pickle.dumps((True, function(pickle.loads(task))))
    except Exception as fault:  # noqa: BLE001  it is raised again on the other side
        told = "".join(traceback.format_exception(fault))
        fault.add_note(f"In another process:\n{told}")
        try:
            packed = pickle.dumps((False, fault))
            pickle.loads(packed)  # exceptions with arguments of their own can often be written and not read
        except Exception:  # noqa: BLE001  then its text has to do
            return pickle.dumps((False, IsometryError(f"A training in another process failed.\n{told}")))
        return packed
