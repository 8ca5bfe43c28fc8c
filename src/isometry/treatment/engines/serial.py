"""One training after another, in this process."""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

__all__ = ["Serial"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class Serial:
    """The engine that needs nothing."""

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result], None, None]:
        for place, task in enumerate(tasks):
            yield place, function(task)

    def close(self) -> None:
        """Nothing is kept."""
