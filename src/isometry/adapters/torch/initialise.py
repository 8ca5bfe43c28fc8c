"""Draws the initial weights of a model anew, by the name of a scheme."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from isometry.adapters.torch.batch import call_of
from isometry.adapters.torch.biases import biases_of, set_bias
from isometry.adapters.torch.branches import fixup_factors, multipliers
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.laws import LAWS
from isometry.adapters.torch.levelling import level_by_measuring
from isometry.adapters.torch.moments import level_by_moments
from isometry.adapters.torch.passes import Call, on_copies, runs_on
from isometry.adapters.torch.sites import Site, Sites
from isometry.adapters.torch.weights import Matrix, fill, matrices_of, scaled
from isometry.errors import CannotEdit, IsometryError
from isometry.network.architecture import Architecture

__all__ = ["SCHEMES", "initialise"]

LEVELLING = {"lsuv": level_by_measuring, "moments": level_by_moments}
MULTIPLIERS = ("rezero", "skipinit")
SCHEMES = (*LAWS, *LEVELLING, "fixup", *MULTIPLIERS)
"""Names of all schemes."""

Gain = float | Mapping[str, float]

APART = 0x69736F6D65747279
"""Added to every seed: weights must not repeat the random numbers of data that were drawn with the same one."""


def initialise(
    model: nn.Module,
    scheme: str,
    *,
    batch: Any = None,
    gain: Gain | None = None,
    sigma_b: Gain = 0.0,
    forget_bias: float | None = None,
    seed: int | None = None,
    layers: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Draw the weights of a model anew, in place; biases become 0.

    ========================  =====================================================================================
    scheme                    weights, with g for ``gain``
    ========================  =====================================================================================
    lecun, truncated_normal   N(0, g² / fan_in), g = 1; the second cut at two deviations, of the same variance
    he, he_fan_out            N(0, g² / fan_in) or N(0, g² / fan_out), g = √2
    glorot, glorot_uniform    variance 2 g² / (fan_in + fan_out), g = 1
    orthogonal                all singular values are g = 1; of a kernel only the middle tap is not 0
    critical                  N(0, g² / fan_in) with the g that the caller knows for each layer's φ
    lsuv                      orthogonal, then scaled until z of each layer has the deviation 1 on the batch
    moments                   N(0, v), with the v for which z has the variance 1, computed or else measured
    fixup                     as he; residual branches times L^(−1 / (2m − 2)), 0 at their ends and in the head
    rezero, skipinit          as they are; the multiplier at the end of each residual branch becomes 0
    ========================  =====================================================================================

    Left alone: frozen parameters, norms, embeddings, and matrices of modules that torch does not know. Recurrent layers
    get Glorot's matrices for their input and orthogonal ones from step to step, gate by gate, whatever the scheme.
    Orthogonal layers that widen keep the length of a signal; their z shrinks by √(fan_in / fan_out). A tied weight is
    drawn once, for the layer that comes first. ``fixup`` adds no parameters: the scalar biases and multipliers of its
    source have to stand in the model.

    Args:
        model: any module.
        scheme: one of the above.
        batch: one batch of training data, as ``check`` takes it; for the last five schemes.
        gain: in place of the scheme's own, for all layers or by the name of a layer.
        sigma_b: standard deviation of the biases, likewise; for the schemes that take no batch.
        forget_bias: what the forget gates of LSTMs start with, 0 otherwise.
        seed: of the numbers drawn here; the global generators stay as they are.
        layers: names of the layers to set, as ``describe`` gives them. All, if left out.

    Returns:
        Full names of the parameters that were set.

    Raises:
        IsometryError: the scheme does not exist or does not fit the model. Then nothing has been changed.
        UnsupportedModel: the model does not run on the batch.

    Sources: LeCun et al. 1998; Glorot & Bengio 2010; Saxe et al. 2014; He et al. 2015; Mishkin & Matas 2016; Xiao et
    al. 2018; Zhang et al. 2019; Bachlechner et al. 2020; De & Smith 2020; Bingham & Miikkulainen 2023.
    """
    _require_fitting(scheme, batch, gain, sigma_b, forget_bias)
    sites = _chosen(model, layers)
    generator = _generator(seed)
    call = _call(model, batch) if scheme not in LAWS else ((), {})
    if scheme in MULTIPLIERS:
        return _set_multipliers(model, call, scheme, sites, generator)
    matrices = matrices_of(sites)
    gains = _by_layer("gain", gain, matrices)
    biases = biases_of(sites, matrices, _by_layer("sigma_b", sigma_b, matrices), forget_bias)
    _require_possible(scheme, matrices, gains)
    factors = fixup_factors(_described(model, call)) if scheme == "fixup" else {}
    parameters = [matrix.parameter for matrix in matrices] + [bias.parameter for bias in biases]
    with _restored_on_error(parameters):
        for bias in biases:
            set_bias(bias, generator)
        if scheme in LEVELLING:
            LEVELLING[scheme](model, call, matrices, generator)
        else:
            law, own = LAWS["he" if scheme == "fixup" else scheme]
            for matrix in matrices:
                fill(matrix, law, gains.get(matrix.layer, own or 1.0), generator)
                scaled(matrix, factors.get(matrix.layer, 1.0))
    return _names(model, parameters)


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed((seed + APART) % 2**63)
    return generator


# ---------------------------------------------------------------------- validation


def _require_fitting(scheme: str, batch: Any, gain: Gain | None, sigma_b: Gain, forget_bias: float | None) -> None:
    if scheme not in SCHEMES:
        raise IsometryError(f"scheme: there is no {scheme!r}. There are {', '.join(SCHEMES)}.")
    if scheme not in LAWS and batch is None:
        raise IsometryError(f"{scheme} follows a forward pass: give one batch of the training data as `batch`.")
    if gain is not None and scheme not in LAWS and scheme != "fixup":
        raise IsometryError(f"{scheme} finds or needs no gain: leave out `gain`, or choose he, orthogonal or critical.")
    if sigma_b != 0.0 and scheme not in LAWS:
        raise IsometryError(f"{scheme} begins with biases of 0: leave out `sigma_b`, or choose {', '.join(LAWS)}.")
    if forget_bias is not None and (scheme in MULTIPLIERS or not math.isfinite(forget_bias)):
        raise IsometryError(
            f"forget_bias = {forget_bias:g} with {scheme}: a finite number is needed, and a scheme that draws weights."
        )


def _chosen(model: nn.Module, layers: Collection[str] | None) -> list[Site]:
    if not isinstance(model, nn.Module):
        raise IsometryError(f"model: a {type(model).__name__} was given; a torch.nn.Module is needed.")
    sites = Sites()
    sites.add(model)
    if layers is None:
        return sites.all
    wanted = {layers} if isinstance(layers, str) else set(layers)
    _require_known("layers", wanted, [site.name for site in sites.all])
    return [site for site in sites.all if site.name in wanted]


def _require_known(option: str, names: Iterable[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        some = ", ".join(known[:6]) + (f" and {len(known) - 6} more" if len(known) > 6 else "")
        raise CannotEdit(f"{option}: {', '.join(sorted(unknown))} cannot be set. There are {some or 'none'}.")


def _by_layer(option: str, values: Gain | None, matrices: Iterable[Matrix]) -> dict[str, float]:
    """The option's value for every layer that has one."""
    known = list(dict.fromkeys(matrix.layer for matrix in matrices if not matrix.recurrent))
    if values is None:
        return {}
    if isinstance(values, Mapping):
        _require_known(option, values, known)
    by_layer = dict(values) if isinstance(values, Mapping) else dict.fromkeys(known, values)
    for name, value in by_layer.items():
        if not 0 <= value < math.inf or (option == "gain" and value == 0):
            raise IsometryError(f"{option} = {value:g} at `{name}`: a finite number above 0 is needed.")
    return by_layer


def _require_possible(scheme: str, matrices: Sequence[Matrix], gains: Mapping[str, float]) -> None:
    if not matrices:
        raise CannotEdit(
            "No weight can be set: there is no trainable matrix of a linear, convolutional, attention or recurrent "
            "layer among those asked for. Unfreeze one, or name others in `layers`."
        )
    if scheme == "critical":
        without = [matrix.layer for matrix in matrices if not matrix.recurrent and matrix.layer not in gains]
        if without:
            raise IsometryError(
                f"critical: no gain is given for `{without[0]}`"
                + f" and {len(without) - 1} more" * (len(without) > 1)
                + ". Give one σ_w for each layer, or name in `layers` those that have one."
            )
    for matrix in matrices if scheme == "orthogonal" else ():
        outputs, inputs, *kernel = matrix.blocks[0].values.shape
        if math.prod(kernel) > 1 and outputs < inputs:
            raise CannotEdit(
                f"`{matrix.layer}`: a delta-orthogonal kernel needs as many outputs as inputs or more, and it has "
                f"{outputs} and {inputs}. Name the other layers in `layers`, and initialise this one with he."
            )


@torch.no_grad()
def _set_multipliers(
    model: nn.Module, call: Call, scheme: str, sites: Iterable[Site], generator: torch.Generator
) -> tuple[str, ...]:
    chosen = {id(parameter) for site in sites for parameter in site.parameters.values()}
    found = multipliers(model, call, _described(model, call), scheme, generator.initial_seed())
    found = [parameter for parameter in found if id(parameter) in chosen]
    if not found:
        raise CannotEdit(
            f"{scheme}: none of the layers asked for holds the multiplier of a branch. Leave out `layers` to set all."
        )
    for parameter in found:
        parameter.zero_()
    return _names(model, found)


def _names(model: nn.Module, parameters: Iterable[Tensor]) -> tuple[str, ...]:
    """Full names as the model lists them: one for a tied weight."""
    wanted = {id(parameter) for parameter in parameters}
    return tuple(name for name, parameter in model.named_parameters() if id(parameter) in wanted)


# ---------------------------------------------------------------------- the batch


def _call(model: nn.Module, batch: Any) -> Call:
    call = call_of(model, batch, None)
    return call.args, call.kwargs


def _described(model: nn.Module, call: Call) -> Architecture:
    args, kwargs = on_copies(call)
    with runs_on(model):
        return describe(model, *args, **kwargs)


@contextmanager
def _restored_on_error(parameters: Sequence[Tensor]) -> Iterator[None]:
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for parameter, values in zip(parameters, before, strict=True):
                parameter.copy_(values)
        raise
