"""Several trainings at once, in processes of this machine.

Everything is pickled once, here, by the plain pickler: that of ``multiprocessing`` sends tensors as handles of shared
memory, of which containers often have little.
"""

import atexit
import pickle
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from isometry.errors import IsometryError
from isometry.treatment.engines.answers import Died, result
from isometry.treatment.engines.machine import cores, unless_set
from isometry.treatment.engines.serial import Serial
from isometry.treatment.engines.worker import Worker, dismiss, hired, instructed

__all__ = ["Pool"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Busy = dict["Connection[Any, Any]", tuple[Worker, int]]

ROUND = 2.0
"""So often one looks for processes that died while a child of theirs holds the pipe open. [seconds]"""


class Pool:
    """The engine that uses the cores of this machine.

    Processes stay for the next tasks of the same function, because they are slow to start; ``close`` lets them go. With
    more than one worker all tasks run in these processes, even single ones, so that all have as many threads: with
    more or fewer, sums are rounded otherwise, and trainings drift apart.

    A process that dies costs the task that it had; another one takes its place while tasks are left.

    Args:
        workers: processes; one for each core if left out.
        say: gets one sentence where trainings have to run one after another in this process instead, and where no
            process can take the place of one that died.
    """

    def __init__(self, workers: int | None = None, *, say: Callable[[str], None]) -> None:
        if workers is not None and workers < 1:
            raise IsometryError(f"workers={workers}: a whole number from 1 upwards is needed.")
        self._workers = workers if workers is not None else cores()
        self._say = say
        self._crew: list[Worker] = []
        self._function = b""
        self._alone = self._workers == 1

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result | Died], None, None]:
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
        dismiss(crew)
        atexit.unregister(self.close)

    def _sent_out(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result | Died], None, str]:
        """Results from other processes; or, before there is any, why there will be none."""
        try:
            packed, *packed_tasks = [pickle.dumps(part) for part in (function, *tasks)]
        except Exception as fault:  # noqa: BLE001  whatever a user's object raises when it is pickled
            return str(fault)
        if packed != self._function:
            self.close()
            self._function = packed
        self._bury([worker for worker in self._crew if not worker.process.is_alive()])
        atexit.register(self.close)  # it comes before ``multiprocessing`` waits for children that wait for work
        trouble = self._hire(min(self._workers, len(tasks)) - len(self._crew))
        if not trouble:
            yield from self._done(packed_tasks)
        return trouble

    def _hire(self, missing: int) -> str:
        """New processes that know the function. Why one of them cannot; empty if all can."""
        # Numerical libraries start a thread for each core in every process, unless they are told beforehand.
        with unless_set("OMP_NUM_THREADS", str(max(1, cores() // self._workers))):
            newcomers = [hired(self._crew) for _ in range(missing)]
        return instructed(newcomers, self._function)

    def _bury(self, dead: Sequence[Worker]) -> None:
        self._crew = [worker for worker in self._crew if worker not in dead]
        dismiss(dead)

    def _done(self, tasks: Sequence[bytes]) -> Generator[tuple[int, Any], None, None]:
        """Hand out the tasks one by one, and give back what comes."""
        left = deque(enumerate(tasks))
        busy: Busy = {}
        trouble = ""
        for worker in self._crew:
            _hand(worker, left, busy)
        while busy:
            for pipe in _heard(busy):
                worker, place = busy.pop(pipe)
                packed = worker.answered()
                if packed is not None:
                    _hand(worker, left, busy)  # before the caller takes its time over the result
                    yield place, result(packed)
                    continue
                died = Died(f"its process ended with {worker.exit_code()}")
                self._bury([worker])
                if left and not trouble:
                    trouble = self._replaced(left, busy)
                yield place, died
        for place, _ in left:
            yield place, Died(f"no process was left for it: {trouble}")

    def _replaced(self, left: deque[tuple[int, bytes]], busy: Busy) -> str:
        """Hand the next task to a process that takes the place of a dead one. Why there is none; empty if there is."""
        try:
            trouble = self._hire(1)
        except OSError as fault:  # no memory, no file handles
            trouble = str(fault)
        if trouble:
            self._bury([worker for worker in self._crew if worker.pipe not in busy])
            self._say(f"No process can take the place of one that died: {trouble}.")
        else:
            _hand(self._crew[-1], left, busy)
        return trouble


def _hand(worker: Worker, left: deque[tuple[int, bytes]], busy: Busy) -> None:
    if left:
        place, task = left.popleft()
        worker.hand(task)
        busy[worker.pipe] = worker, place


def _heard(busy: Mapping["Connection[Any, Any]", tuple[Worker, int]]) -> list["Connection[Any, Any]"]:
    """Pipes of those that have an answer or are gone; none where nothing happens for a while."""
    ready = set(wait(list(busy), ROUND))
    return [pipe for pipe, (worker, _) in busy.items() if pipe in ready or worker.is_gone]
