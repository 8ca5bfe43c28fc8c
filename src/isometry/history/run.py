"""One training that was watched."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isometry.history.history import History
from isometry.history.record import plain
from isometry.network.architecture import Architecture
from isometry.shown import Shown

__all__ = ["Run"]


@dataclass(frozen=True, slots=True)
class Run(Shown):
    """What was watched, what it was measured to do, and under which circumstances."""

    architecture: Architecture
    history: History
    provenance: dict[str, Any] = field(default_factory=dict)
    """Versions, seed, device, command line … as the adapter noted them."""
    folder: Path | None = None
    """Where it is kept; None for a run that lives in memory."""

    @property
    def name(self) -> str:
        """What to call it: the name that it was given, else that of its folder."""
        return str(self.provenance.get("name") or (self.folder.name if self.folder else "run"))

    def summary(self) -> dict[str, Any]:
        """The facts that stand above every report.

        ``steps`` are those of the training, ``recorded`` those measured in full; ``cost_share`` is the time spent on
        watching over that spent on training, None for a run that has not ended or was killed.
        """
        history = self.history
        end = history.end or {}
        cost, elapsed = end.get("cost"), end.get("elapsed")
        return {
            "name": self.name,
            "folder": self.folder.name if self.folder else None,
            "model": self.architecture.model,
            "framework": self.architecture.framework,
            "layers": len(self.architecture),
            "steps": history.total_steps,
            "recorded": len(history.steps),
            "cost": cost,
            "elapsed": elapsed,
            "cost_share": cost / elapsed if cost is not None and elapsed else None,
            "ending": end.get("ending"),
            "notes": list(history.notes),
        }

    def to_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = plain(
            {
                "schema": "isometry/run-summary/1",
                **self.summary(),
                "provenance": self.provenance,
                "architecture": self.architecture.to_dict(),
            }
        )
        # Not through ``plain``, for which the statistics "nan" and "inf" would be texts to be told from numbers.
        return told | {"columns": [[str(signal), statistic] for signal, statistic in self.history.columns]}
