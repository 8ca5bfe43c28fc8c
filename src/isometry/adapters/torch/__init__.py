"""How PyTorch is read: ``describe`` a model, ``watch`` its training, or watch whatever a process trains."""

from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.watch import TorchWatch, watch, watch_process

__all__ = ["TorchWatch", "describe", "watch", "watch_process"]
