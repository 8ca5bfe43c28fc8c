"""Which parameters no gradient has reached, and why."""

from collections.abc import Iterable

from torch import Tensor

from isometry.adapters.torch.optimisers import Stepper
from isometry.adapters.torch.sites import Site, Sites

__all__ = ["missing_gradients"]


def missing_gradients(sites: Sites, heard: set[int], steppers: Iterable[Stepper]) -> list[dict[str, str]]:
    """Name, layer and reason of every parameter that never had a gradient.

    Args:
        sites: of the watched models.
        heard: ids of the parameters that had one.
        steppers: the optimisers seen so far.
    """
    steppers = list(steppers)
    in_optimizer = {i for stepper in steppers for i in stepper.parameters}
    missing = []
    for site in sites.all:
        for name, parameter in site.parameters.items():
            if id(parameter) in heard:
                continue
            reason = _why_missing(site, parameter, in_optimizer, bool(steppers))
            if reason is not None:
                missing.append({"name": name, "layer": site.name, "reason": reason})
    return missing


def _why_missing(site: Site, parameter: Tensor, in_optimizer: set[int], any_optimizer: bool) -> str | None:
    if not parameter.requires_grad:
        return "frozen"
    if any_optimizer and id(parameter) not in in_optimizer:
        return "not in any optimizer"
    if site.order is None:
        return "never ran"
    if not site.ran_with_graph:
        return "ran without gradient"
    if site.heard:
        return None  # a gradient reached its output: only this parameter of it takes no part
    read = any(reader.heard for reader in site.readers or ())
    return "detached" if site.cut or read else "output unused"
