"""How PyTorch is read: ``describe`` a model, ``watch`` its training, or watch whatever a process trains.

``inspect`` and its kin look at a model before its first step; ``initialise`` draws its weights anew, by the name of a
scheme. ``edit`` changes a model, ``apply`` its optimiser as well; a ``trainer`` trains an experiment with such changes.
"""

from isometry.adapters.torch.applying import Applied, apply
from isometry.adapters.torch.batch import inspect, inspect_captured, inspect_experiment
from isometry.adapters.torch.capture import capturing
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.edit import edit
from isometry.adapters.torch.initialise import initialise
from isometry.adapters.torch.treatment import treating
from isometry.adapters.torch.trials import TorchTrainer
from isometry.adapters.torch.watch import TorchWatch, watch, watch_process
from isometry.network.experiment import Experiment

__all__ = [
    "Applied",
    "TorchTrainer",
    "TorchWatch",
    "apply",
    "capturing",
    "describe",
    "edit",
    "initialise",
    "inspect",
    "inspect_captured",
    "inspect_experiment",
    "trainer",
    "treating",
    "watch",
    "watch_process",
]


def trainer(experiment: Experiment) -> TorchTrainer:
    """Who trains an experiment with changes."""
    return TorchTrainer(experiment)
