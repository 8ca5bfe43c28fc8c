"""Code for changes of the data that a network is trained on."""

from isometry.network.architecture import Architecture

__all__ = ["standardise_code"]

STANDARDISE = """\
# Inputs of mean 0 and size 1, {each} by itself; inputs are those to train on.
# Do the same, with this mean and std, to all that the model reads later.
dims = {dims}
mean = inputs.mean(dims, keepdim=True)
std = inputs.std(dims, correction=0, keepdim=True)
std[std == 0] = 1
inputs = (inputs - mean) / std"""


def standardise_code(architecture: Architecture) -> str:
    """Code of PyTorch that standardises inputs; what a convolution reads, channel by channel, unless it comes flat."""
    first = next((layer for layer in architecture if "" in layer.inputs and layer.weighted), None)
    if first is not None and first.kind == "conv":
        return STANDARDISE.format(
            each="each feature (of images each channel)", dims="[d for d in range(inputs.dim()) if d != 1]"
        )
    return STANDARDISE.format(each="each feature", dims="list(range(inputs.dim() - 1))")
