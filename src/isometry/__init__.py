"""isometry finds where the gradients of a deep network vanish or explode, says why, and shows it."""

from isometry.api import diagnose, load, report, watch
from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.errors import CannotEdit, IsometryError, NotRecorded, UnsupportedModel
from isometry.history.run import Run
from isometry.network.signals import Signal

__version__ = "0.1.0"

__all__ = [
    "CannotEdit",
    "Diagnosis",
    "Finding",
    "IsometryError",
    "NotRecorded",
    "Run",
    "Severity",
    "Signal",
    "UnsupportedModel",
    "__version__",
    "diagnose",
    "load",
    "report",
    "watch",
]
