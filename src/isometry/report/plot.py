"""What a plot is: a pure function from a run to a chart, with the facts about it stated in a decorator."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from isometry.catalogue import collect
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.report.chart import Chart

__all__ = ["Plot", "plot", "plots"]

Picture = Callable[[Run], Chart]


@dataclass(frozen=True, slots=True)
class Plot:
    """One way to picture a run."""

    name: str
    """``delta-by-depth``; unique among all plots"""
    place: int
    """Plots are shown in this order."""
    proves: tuple[str, ...]
    """Problems, or codes of rules, whose findings this picture proves; of several the one of lowest place is taken."""
    doc: str
    picture: Picture

    def __call__(self, run: Run) -> Chart:
        """The chart, stamped with the plot's name.

        Raises:
            NotRecorded: the run does not hold what the picture shows.
        """
        return replace(self.picture(run), name=self.name)


def plot(name: str, *, place: int, proves: Sequence[str] = ()) -> Callable[[Picture], Plot]:
    """Make a plot of the decorated function, which may raise ``NotRecorded`` with a reason."""

    def decorate(picture: Picture) -> Plot:
        return Plot(name, place, tuple(proves), inspect.getdoc(picture) or "", picture)

    return decorate


@cache
def plots() -> tuple[Plot, ...]:
    """Every plot there is, in the order in which they are shown; other packages offer theirs as ``isometry.plots``."""
    found = sorted(
        collect(Plot, package="isometry.report.plots", group="isometry.plots"), key=lambda plot: (plot.place, plot.name)
    )
    names = [item.name for item in found]
    for name in names:
        if names.count(name) > 1:
            raise IsometryError(f"Two plots are called {name!r}. Give one of them another name.")
    return tuple(found)
