"""Which parameters no gradient has reached, or no optimiser moves, and why."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from isometry.adapters.torch.optimisers import Stepper
from isometry.adapters.torch.sites import Site, Sites

__all__ = ["missing_gradients"]


def missing_gradients(sites: Sites, heard: set[int], steppers: Iterable[Stepper]) -> list[dict[str, str]]:
    """Name, layer and reason of every parameter that never had a gradient, or that no optimiser holds.

    Args:
        sites: of the watched models.
        heard: ids of the parameters that had a gradient.
        steppers: the optimisers seen so far.
    """
    steppers = list(steppers)
    held = {key for stepper in steppers for key in (*stepper.parameters, *map(id, stepper.listed()))}
    missing = []
    loose = []
    for site in sites.all:
        for name, parameter in site.parameters.items():
            is_loose = bool(steppers) and id(parameter) not in held and parameter.requires_grad
            if id(parameter) in heard and not is_loose:
                continue
            reached = id(parameter) in heard or site.heard or parameter.grad is not None
            reason = "not in any optimizer" if is_loose and reached else _why_missing(site, parameter)
            if reason is None:
                continue
            missing.append({"name": name, "layer": site.name, "reason": reason})
            if is_loose and reached:
                loose.append((missing[-1], parameter))
    if loose:
        apart = [(stepper, _apart(stepper, sites, heard)) for stepper in steppers]
        for entry, parameter in loose:
            if any(_is_fed(parameter, others, stepper) for stepper, others in apart):
                missing.remove(entry)
            elif any(_takes_its_place(parameter, others, stepper) for stepper, others in apart):
                entry["reason"] = "optimizer holds another"
    return missing


def _why_missing(site: Site, parameter: Tensor) -> str | None:
    if not parameter.requires_grad:
        return "frozen"
    if site.order is None:
        return "never ran"
    if not site.ran_with_graph:
        return "ran without gradient"
    if site.heard:
        return None  # a gradient reached its output: only this parameter of it takes no part
    read = any(reader.heard for reader in site.readers or ())
    return "detached" if site.cut or read else "output unused"


def _apart(stepper: Stepper, sites: Sites, heard: set[int]) -> list[Tensor]:
    """What an optimiser holds that is no part of a model that runs; those with a gradient are noted as fed."""
    idle = all(site.order is None for site in stepper.sites)  # all of it is another model, or a copy that never runs
    own = set() if idle else {id(p) for site in sites.all for p in site.parameters.values()}
    apart = [p for p in stepper.listed() if id(p) not in own and id(p) not in heard]
    stepper.fed |= {id(p) for p in apart if p.grad is not None}
    return apart


def _is_fed(parameter: Tensor, apart: Sequence[Tensor], stepper: Stepper) -> bool:
    """Whether the optimiser moves a copy of this parameter that is given its gradient: a master copy in float32."""
    return any(id(other) in stepper.fed and other.shape == parameter.shape for other in apart)


def _takes_its_place(parameter: Tensor, apart: Sequence[Tensor], stepper: Stepper) -> bool:
    """Whether something that gets no gradient is held instead: of its shape, or beside others of its model."""
    idle = [other for other in apart if id(other) not in stepper.fed]
    alike = any(other.shape == parameter.shape and other.dtype == parameter.dtype for other in idle)
    return alike or bool(idle and stepper.sites)
