"""Several trainings at once that are programs of their own: a thread waits for each."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from typing import TypeVar

__all__ = ["Threads"]

Task = TypeVar("Task")
Result = TypeVar("Result")

BREATH = 0.1
"""Between two attempts at ending programs. [seconds]"""


class Threads:
    """The engine for functions that start a program and wait for it.

    Args:
        workers: programs at once.
        stop: ends all programs that run; called when results are wanted no more.
    """

    def __init__(self, workers: int, *, stop: Callable[[], None]) -> None:
        self._workers = workers
        self._stop = stop

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, None]:
        with ThreadPoolExecutor(self._workers, thread_name_prefix="isometry-training") as pool:
            places = {pool.submit(function, task): place for place, task in enumerate(tasks)}
            try:
                for future in as_completed(places):
                    yield places[future], future.result()
            except BaseException:
                for future in places:
                    future.cancel()
                while any(future.running() for future in places):  # one may be about to start its program
                    self._stop()
                    wait(places, BREATH)
                raise

    def close(self) -> None:
        """Nothing is kept: programs end with their training."""
