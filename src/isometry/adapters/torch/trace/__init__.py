"""Follows one forward pass: which layer makes which tensor, and what is measured of it.

Takes ``Sites`` and, for each pass, a ``Sink`` for the measured rows. ``tracer`` is the mode that sees every operation
and says what it is: ``layers``, ``nonlinearities`` and ``sums`` then measure it. ``tensor_origins`` knows where each
tensor comes from, ``operation`` and ``names`` say what an operation is, ``forward_pass`` holds what all of them share.
"""

from isometry.adapters.torch.trace.forward_pass import Sink
from isometry.adapters.torch.trace.names import ADDITIONS, PRODUCTS
from isometry.adapters.torch.trace.operation import Origin
from isometry.adapters.torch.trace.tracer import Tracer

__all__ = ["ADDITIONS", "PRODUCTS", "Origin", "Sink", "Tracer"]
