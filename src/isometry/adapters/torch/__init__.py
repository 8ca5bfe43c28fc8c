"""How PyTorch is read: ``describe`` a model, ``watch`` its training, or watch whatever a process trains.

``inspect`` and its kin look at a model before its first step; ``initialise`` draws its weights anew, by the name of a
scheme.
"""

from isometry.adapters.torch.batch import inspect, inspect_captured, inspect_experiment
from isometry.adapters.torch.capture import capturing
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.initialise import initialise
from isometry.adapters.torch.watch import TorchWatch, watch, watch_process

__all__ = [
    "TorchWatch",
    "capturing",
    "describe",
    "initialise",
    "inspect",
    "inspect_captured",
    "inspect_experiment",
    "watch",
    "watch_process",
]
