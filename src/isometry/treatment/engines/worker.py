"""One process of this machine that carries out a function for one task after another.

Processes are spawned, because a fork of one that has used threads or a GPU hangs. A spawned process imports the main
script again, so a script starts its work under ``if __name__ == "__main__":``, as with all of ``multiprocessing``.
"""

import multiprocessing
import pickle
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from isometry.treatment.engines.answers import answer

__all__ = ["Worker", "dismiss", "hired", "instructed"]

PATIENCE = 2.0
"""How long a process that was told to end may take, before it is ended by force. [seconds]"""


@dataclass(frozen=True, slots=True, eq=False)
class Worker:
    process: SpawnProcess
    pipe: "Connection[Any, Any]"

    def hand(self, task: bytes) -> None:
        """Give it a task. Where it is gone already, ``answered`` tells."""
        with suppress(OSError):
            self.pipe.send_bytes(task)

    @property
    def is_gone(self) -> bool:
        """Without an answer, even where a child of its own holds the pipe open."""
        return not self.process.is_alive() and not self.pipe.poll()

    def answered(self) -> bytes | None:
        """Its answer, which ``wait`` has announced; None where it died instead."""
        try:
            return None if self.is_gone else self.pipe.recv_bytes()
        except (EOFError, OSError):
            return None

    def exit_code(self) -> str:
        """Of one that died, in words."""
        self.process.join(PATIENCE)
        code = self.process.exitcode
        words = f"exit code {code}".replace("-", "−")
        return f"{words}, which often means that memory ran out" if code == -9 else words


def hired(crew: list[Worker]) -> Worker:
    """One more process in the crew."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # No daemon: one of those could have no children, which data loaders start.
    process = context.Process(target=_work, args=(theirs,), name="isometry-training")
    process.start()
    crew.append(Worker(process, ours))
    theirs.close()  # so that the end of the process is the end of the pipe
    return crew[-1]


def dismiss(crew: Sequence[Worker]) -> None:
    for worker in crew:
        worker.process.terminate()
    for worker in crew:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()
        worker.pipe.close()


def instructed(newcomers: Sequence[Worker], function: bytes) -> str:
    """Give the function to every new process. Why one of them cannot have it; empty if all can."""
    try:
        for worker in newcomers:
            worker.pipe.send_bytes(function)
        answers = [worker.pipe.recv() for worker in newcomers]
    except (EOFError, OSError):
        ended = next((worker for worker in newcomers if not worker.process.is_alive()), newcomers[0])
        return f"one of them ended at once, with {ended.exit_code()}"
    return next((str(answer) for answer in answers if answer), "")


def _work(pipe: "Connection[Any, Any]") -> None:
    """In the process: carry out one task after another until the pipe ends."""
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
            pipe.send_bytes(answer(function, pipe.recv_bytes()))
    except (EOFError, OSError):
        return  # nobody waits for an answer any more
