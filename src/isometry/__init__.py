"""isometry finds where the gradients of a deep network vanish or explode, says why, shows it, and proves the cure."""

from typing import TYPE_CHECKING

from isometry.api import apply, check, diagnose, fix, load, predict, prescribe, report, watch
from isometry.diagnosis.check import Check, Prediction
from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.errors import CannotEdit, IsometryError, NotRecorded, UnsupportedModel
from isometry.history.run import Run
from isometry.network.experiment import Experiment
from isometry.network.script import Metric, Script
from isometry.network.signals import Signal
from isometry.treatment.outcome import Outcome
from isometry.treatment.prescription import Prescription

if TYPE_CHECKING:
    from isometry import theory

__version__ = "0.1.0"

__all__ = [
    "CannotEdit",
    "Check",
    "Diagnosis",
    "Experiment",
    "Finding",
    "IsometryError",
    "Metric",
    "NotRecorded",
    "Outcome",
    "Prediction",
    "Prescription",
    "Run",
    "Script",
    "Severity",
    "Signal",
    "UnsupportedModel",
    "__version__",
    "apply",
    "check",
    "diagnose",
    "fix",
    "load",
    "predict",
    "prescribe",
    "report",
    "theory",
    "watch",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """``isometry.theory`` is loaded when it is first asked for."""
        if name == "theory":
            from importlib import import_module

            return import_module("isometry.theory")
        raise AttributeError(f"module 'isometry' has no attribute {name!r}")
