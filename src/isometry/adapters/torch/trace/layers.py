"""What layers read and give: their inputs and pre-activations, and the gradients of both."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isometry.adapters.torch import measure
from isometry.adapters.torch.alteration import Alteration
from isometry.adapters.torch.sites import MATRIX_OPERATIONS, Site
from isometry.adapters.torch.trace.forward_pass import ForwardPass
from isometry.adapters.torch.trace.names import SEQUENCES, STATEFUL
from isometry.adapters.torch.trace.operation import Operation, Origin, first_of, layers_of, leaves_of
from isometry.adapters.torch.trace.tensor_origins import carries_gradient, is_learned
from isometry.network.signals import Signal

__all__ = ["Layers"]


class Layers:
    """Measures the layers of one pass."""

    def __init__(
        self, forward: ForwardPass, alteration: Alteration | None, guarded: Callable[[Callable[[], None]], None]
    ) -> None:
        self.norm_inputs: dict[Site, Tensor] = {}
        """What the norms read that are at work."""
        self._forward = forward
        self._alteration = alteration
        self._guarded = guarded
        """Runs what must not fail inside the user's backward pass."""

    def read(self, operation: Operation, site: Site, result: Any) -> None:
        """An operation of a layer with its parameters: note what it reads, measure what it gives."""
        forward, origins, ancestry = self._forward, self._forward.origins, self._forward.ancestry
        output = first_of(result)
        assert output is not None
        data = self._data(operation)
        past = 0
        for origin in (*operation.origins, *(origin for _, origin in data)):
            past |= origin.past
        continued = operation.name not in MATRIX_OPERATIONS and any(
            origin.site is site and origin.exact == "z" for _, origin in data
        )
        if not continued:
            forward.sites.runs(site)
            self._note_inputs(operation, site, data, past)
            if site.kind != "parameter" or operation.name in MATRIX_OPERATIONS:
                past |= ancestry.begin_run(site, past)
        if operation.name in MATRIX_OPERATIONS and site.kind in ("other", "parameter"):
            site.kind = MATRIX_OPERATIONS[operation.name]
        ancestry.note_past(site, past)
        self.measure_output(site, output, continued=continued)
        if not forward.recomputing and not torch.is_grad_enabled():
            site.cut = True
        for tensor in leaves_of(result):
            exact = "z" if tensor is output else ""
            origins.keep(tensor, Origin(site, exact, False, past))
            self.listen(site, tensor)

    def _data(self, operation: Operation) -> list[tuple[Tensor, Origin]]:
        """What the layer reads besides its parameters; a tensor of unknown origin is an input of the network."""
        origins = self._forward.origins
        data: list[tuple[Tensor, Origin]] = []
        only_first = operation.name in STATEFUL  # running statistics and hidden states are no input
        for tensor, origin in zip(operation.tensors, operation.origins, strict=True):
            if only_first and data:
                break
            if origins.owners(tensor):
                continue
            if not carries_gradient(tensor) and not operation.name.startswith("embedding"):
                continue
            if not origin.past:
                origin = Origin(past=self._forward.ancestry.begin_input(learned=is_learned(tensor)))
                origins.keep(tensor, origin)
            data.append((tensor, origin))
        return data

    def _note_inputs(self, operation: Operation, site: Site, data: list[tuple[Tensor, Origin]], past: int) -> None:
        """Where the layer reads from, and the signals on its input side."""
        forward = self._forward
        if forward.ancestry.is_fed_by_itself(site, past):
            site.recurrent = True
        if not data or forward.recomputing:
            return
        tensor, origin = data[0]
        if self._alteration is not None:
            self._alteration.reads(site, tensor)
        whole = self.norm_inputs.get(site)
        if whole is not None and whole is not tensor:  # a norm written by hand: its own operations come first
            tensor, origin = whole, forward.origins.of(whole)
        if not site.inputs:
            site.inputs = layers_of([origin, *(other for _, other in data[1:])])
        if origin.site is not None and origin.exact and site.kind == "norm" and not origin.activated:
            origin.site.norm = origin.site.norm or site.name
        sink = forward.sink
        if not forward.ancestry.has_layers(past) and measure.measurable(tensor) and sink.wants(Signal.INPUT):
            sink.forward(site, Signal.INPUT, sink.row(tensor))
        if not sink.wants(Signal.INPUT_GRADIENT) or operation.name in SEQUENCES:
            return
        if origin.site is not None and origin.exact and origin.site is not site:
            signal = Signal.ACTIVATION_GRADIENT if origin.exact == "h" else Signal.DELTA
            sink.same(site, Signal.INPUT_GRADIENT, origin.site, signal)
        elif tensor.requires_grad and not tensor.is_leaf:
            tensor.register_hook(sink.backward(site, Signal.INPUT_GRADIENT, site.calls))

    def measure_output(self, site: Site, output: Tensor, *, continued: bool = False) -> None:
        """Measure z; ``continued``: it takes the place of what the same run has given before."""
        sink = self._forward.sink
        site.ran_with_graph = site.ran_with_graph or output.requires_grad
        if self._forward.recomputing or not measure.measurable(output):
            return
        if sink.wants(Signal.PRE_ACTIVATION):
            sink.forward(site, Signal.PRE_ACTIVATION, sink.row(output), again=continued)
            sink.distribution(site, Signal.PRE_ACTIVATION, output)
            if site.kind != "embedding" and not sink.levels_only:
                sink.extra(site, Signal.PRE_ACTIVATION, "spread", measure.spread(output))

    def listen(self, site: Site, tensor: Tensor) -> None:
        """Measure δ when it comes back to z."""
        sink = self._forward.sink
        if tensor.requires_grad and not tensor.is_leaf and sink.wants(Signal.DELTA):
            tensor.register_hook(sink.backward(site, Signal.DELTA, site.calls))

    def listen_through_time(self, operation: Operation) -> None:
        """∂L/∂x of every time step is Wᵀδ of that step: fused kernels show their δ nowhere else.

        The kernel reads an alias of x that asks for a gradient, so data that ask for none are heard too, and other
        readers of x are not.
        """
        args, site, sink = operation.args, operation.site, self._forward.sink
        assert site is not None
        if not measure.measurable(args[0]) or not sink.wants(Signal.DELTA):
            return
        packed = isinstance(args[3], list | tuple)
        settings = args[4:] if packed else args[3:]
        bidirectional = bool(settings[4]) if len(settings) > 4 else False
        if bidirectional:
            return
        alias = args[0].view_as(args[0]) if args[0].requires_grad else args[0].detach().requires_grad_()
        batch_sizes = args[1].tolist() if packed else None
        batch_first = not packed and len(settings) > 5 and bool(settings[5])

        def heard(gradient: Tensor) -> None:
            self._guarded(lambda: sink.through_time(site, _rms_by_time(gradient, batch_sizes, batch_first)))

        alias.register_hook(heard)
        if args[0].requires_grad and sink.wants(Signal.INPUT_GRADIENT):
            alias.register_hook(sink.backward(site, Signal.INPUT_GRADIENT, site.calls))
        operation.args = (alias, *args[1:])


def _rms_by_time(gradient: Tensor, batch_sizes: list[int] | None, batch_first: bool) -> Tensor:
    """Root mean square of the gradient at every time step, earliest first. shape (steps,)"""
    values = gradient.detach().double().square()
    if batch_sizes is not None:
        return torch.stack([part.mean() for part in values.split(batch_sizes)]).sqrt()
    if values.dim() == 2:
        return values.mean(1).sqrt()
    return values.mean(dim=(0, 2) if batch_first else (1, 2)).sqrt()
