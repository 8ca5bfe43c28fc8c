"""Where trainings run.

What they give does not depend on it, but for their order; and for rounding, as far as that depends on how many threads
a process has.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from isometry.treatment.engines.answers import Died
from isometry.treatment.engines.pool import Pool
from isometry.treatment.engines.ray import Ray
from isometry.treatment.engines.serial import Serial

__all__ = ["Died", "Engine", "Pool", "Ray", "Serial"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(Protocol):
    """Carries out one function for many tasks."""

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result | Died], None, None]:
        """Place of a task and what the function gave for it, as soon as it is known, in any order.

        A task whose process died, because memory ran out or compiled code crashed, has ``Died`` in place of a result;
        the others go on. What the function raises is raised here, and ends the rest. Whoever does not go to the end
        closes the generator, so that nothing is left running. One such call at a time.
        """

    def close(self) -> None:
        """Let go of whatever is kept for the next call. There may be a next one."""
