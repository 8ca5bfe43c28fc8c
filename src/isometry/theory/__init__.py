"""What should happen in a random network, before any data: how signals and gradients grow or fade with depth.

Takes an activation (a name, or φ as a NumPy function), the standard deviations σ_w and σ_b (weights have σ_w /
√fan_in) and sizes; gives numbers. Needs NumPy alone, knows no framework and no recorded run. Maps and fixed points are
those of infinitely wide networks; ``sample_profile`` draws finite ones.

Files: ``gaussian`` and ``kinks`` integrate, ``activations`` and ``moments`` say what; ``meanfield``, ``correlation``
and ``criticality`` have the maps; ``depth``, ``chain``, ``width`` and ``sampler`` follow them through layers;
``initialisation``, ``normalisation``, ``residual``, ``attention``, ``convolution``, ``recurrent`` and ``jacobian``
apply them. ``explain`` applies all of it to the layers of a network, with ``explanation`` for the numbers and
``sentences`` for the words.
"""

from isometry.theory.activations import ACTIVATIONS, Activation, as_activation
from isometry.theory.attention import TokenProfile, attention_concentration, attention_entropy, token_profile
from isometry.theory.chain import ChainLayer, ChainProfile, chain_profile, fit_chain
from isometry.theory.convolution import (
    average_pool_backward,
    average_pool_forward,
    padding_factor,
    padding_map,
)
from isometry.theory.correlation import correlation_fixed_point, correlation_map, correlation_slope
from isometry.theory.criticality import (
    CriticalPoint,
    DepthScale,
    DoublyCriticalPoint,
    Phase,
    critical_point,
    depth_scale,
    doubly_critical_point,
    phase,
)
from isometry.theory.depth import SignalProfile, signal_profile
from isometry.theory.explain import Explanation, HiddenLayer, explain, steady_critical_point
from isometry.theory.gaussian import bivariate_expectation, expectation
from isometry.theory.initialisation import (
    critical_std,
    gain,
    gain_drift,
    glorot_std,
    he_std,
    lecun_std,
    sigma_w_of,
    torch_default_std,
    truncated_std,
    uniform_bound,
)
from isometry.theory.jacobian import jacobian_variance, largest_linear_singular_value
from isometry.theory.kinks import find_kinks
from isometry.theory.meanfield import chi, chi_q, fixed_point, length_map
from isometry.theory.normalisation import batch_norm_rate, layer_norm_rate, normalised_weight_gain
from isometry.theory.recurrent import decades_per_step, forget_bias, forget_decades, forget_half_life
from isometry.theory.residual import (
    NormalisedResidual,
    fixup_scale,
    level_branch_scale,
    normalised_residual,
    post_norm_gain,
    residual_growth,
)
from isometry.theory.sampler import SampledSignals, sample_profile, sample_signals
from isometry.theory.width import WidthCorrection, dead_probability, width_correction, width_noise

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ChainLayer",
    "ChainProfile",
    "CriticalPoint",
    "DepthScale",
    "DoublyCriticalPoint",
    "Explanation",
    "HiddenLayer",
    "NormalisedResidual",
    "Phase",
    "SampledSignals",
    "SignalProfile",
    "TokenProfile",
    "WidthCorrection",
    "as_activation",
    "attention_concentration",
    "attention_entropy",
    "average_pool_backward",
    "average_pool_forward",
    "batch_norm_rate",
    "bivariate_expectation",
    "chain_profile",
    "chi",
    "chi_q",
    "correlation_fixed_point",
    "correlation_map",
    "correlation_slope",
    "critical_point",
    "critical_std",
    "dead_probability",
    "decades_per_step",
    "depth_scale",
    "doubly_critical_point",
    "expectation",
    "explain",
    "find_kinks",
    "fit_chain",
    "fixed_point",
    "fixup_scale",
    "forget_bias",
    "forget_decades",
    "forget_half_life",
    "gain",
    "gain_drift",
    "glorot_std",
    "he_std",
    "jacobian_variance",
    "largest_linear_singular_value",
    "layer_norm_rate",
    "lecun_std",
    "length_map",
    "level_branch_scale",
    "normalised_residual",
    "normalised_weight_gain",
    "padding_factor",
    "padding_map",
    "phase",
    "post_norm_gain",
    "residual_growth",
    "sample_profile",
    "sample_signals",
    "sigma_w_of",
    "signal_profile",
    "steady_critical_point",
    "token_profile",
    "torch_default_std",
    "truncated_std",
    "uniform_bound",
    "width_correction",
    "width_noise",
]
