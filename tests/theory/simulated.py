"""Random networks with all of their weight matrices: what the matrix-free sampler is held against."""

import numpy as np
from numpy.typing import NDArray

from isometry.theory import as_activation

Floats = NDArray[np.float64]


def orthogonal(rng: np.random.Generator, nets: int, n: int) -> Floats:
    q, r = np.linalg.qr(rng.standard_normal((nets, n, n)))
    return q * np.sign(np.einsum("nii->ni", r))[:, None, :]


def simulated_profile(
    widths: list[int],
    activation: str,
    sigma_w: float,
    sigma_b: float,
    *,
    nets: int,
    seed: int,
    weights: str = "gaussian",
) -> Floats:
    """log10 ‖δ‖ of every layer against the last, for inputs with mean square 1. shape (nets, layers)"""
    rng, phi = np.random.default_rng(seed), as_activation(activation)
    z, a, matrices = [], np.ones((nets, widths[0])), []
    for fan_in, width in zip([widths[0], *widths], widths, strict=False):
        if weights == "orthogonal":
            W = orthogonal(rng, nets, width)
        else:
            W = rng.standard_normal((nets, width, fan_in), dtype=np.float32) / np.float32(np.sqrt(fan_in))
        W *= sigma_w
        matrices.append(W)
        z.append(np.matmul(W, a[:, :, None])[:, :, 0] + sigma_b * rng.standard_normal((nets, width)))
        a = phi.function(z[-1])
    delta = rng.standard_normal((nets, widths[-1]))
    logs = [np.log10(np.linalg.norm(delta, axis=1))]
    for layer in range(len(widths) - 2, -1, -1):
        delta = phi.slope(z[layer]) * np.matmul(delta[:, None, :], matrices[layer + 1])[:, 0, :]
        with np.errstate(divide="ignore"):
            logs.append(np.log10(np.linalg.norm(delta, axis=1)))
    return np.stack(logs[::-1], axis=1) - logs[0][:, None]
