"""What happened during a training, kept.

Takes columns of statistics, one row of layers a step, from an adapter (``Recorder``, paced by ``Cadence``);
gives them back as a ``Run``, from memory or from a folder (``open_run``), without any framework.
"""

from isometry.history.cadence import Cadence
from isometry.history.history import Column, History, Series
from isometry.history.recorder import Recorder, fresh_folder
from isometry.history.run import Run
from isometry.history.store import open_run

__all__ = ["Cadence", "Column", "History", "Recorder", "Run", "Series", "fresh_folder", "open_run"]
