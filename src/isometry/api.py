"""The verbs: each finds the room that does the work and hands over."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isometry.adapters.framework import Watch, adapter_of
from isometry.diagnosis.diagnose import diagnose as diagnose_run
from isometry.diagnosis.finding import Diagnosis
from isometry.history.run import Run
from isometry.history.store import open_run
from isometry.report.report import report as write_report

__all__ = ["diagnose", "load", "report", "watch"]


def watch(
    model: Any,
    optimizer: Any = None,
    *,
    run: str | Path | None = None,
    budget: float = 0.01,
    every: int | None = None,
    signals: Sequence[str] | None = None,
) -> Watch:
    """Record what happens to the signals of a model while it is trained.

    Put it round any training loop; the loss is noticed by itself::

        with isometry.watch(model, optimizer, run="runs/first") as watch:
            ...
        print(isometry.diagnose(watch.run))

    Args:
        model: the model that is trained, for PyTorch a ``torch.nn.Module``; several in a list, or by name in a dict.
        optimizer: its optimiser; several in a list, or none.
        run: the folder to keep the run in; a fresh one under ``runs/`` if none is named.
        budget: the greatest share of step time that watching may cost. [fraction]
        every: record each ``every``-th step and never thin; ``1`` records everything.
        signals: names of the signals to keep; all if none are named.

    Raises:
        UnsupportedModel: no adapter knows the model's class.
    """
    return adapter_of(model).watch(model, optimizer, run=run, budget=budget, every=every, signals=signals)


def load(path: str | Path) -> Run:
    """Open a run that was recorded earlier. No framework is needed for it.

    Raises:
        IsometryError: the folder holds no run, a damaged one, or one of a later version.
    """
    return open_run(Path(path))


def diagnose(run: Run | str | Path, *, only: Sequence[str] | None = None) -> Diagnosis:
    """Say what is wrong with a run, where, since when and why.

    Args:
        run: a run, or the folder of one.
        only: problems or rule codes to look for; all if none are named.
    """
    return diagnose_run(load(run) if isinstance(run, str | Path) else run, only=only)


def report(thing: Run | Diagnosis | str | Path, path: str | Path) -> Path:
    """Write a run or its diagnosis to a file; the suffix decides the form: .html .json .md .png .pdf.

    Args:
        thing: a diagnosis, a run, or the folder of one.
        path: the file to write.
    """
    return write_report(load(thing) if isinstance(thing, str | Path) else thing, Path(path))
