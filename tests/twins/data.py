"""Small data, all of it offline: scikit-learn's own sets, generated sequences, a page of English."""

from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "cancer",
    "circles",
    "diabetes",
    "digits",
    "english",
    "first_symbol",
    "images",
    "moons",
    "spirals",
    "wine",
]


def library() -> ModuleType:
    """scikit-learn's sets. Its import takes seconds, which those who only read the list of cases need not wait for."""
    import sklearn.datasets

    return sklearn.datasets


@cache
def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 × 8 pixels as rows, standardised as a whole, and their classes."""
    x, y = library().load_digits(return_X_y=True)
    x = (x - x.mean()) / x.std()
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def images() -> tuple[Tensor, Tensor]:
    """The digits as images. shape (1797, 1, 8, 8)"""
    x, y = digits()
    return x.reshape(-1, 1, 8, 8), y


@cache
def circles() -> tuple[Tensor, Tensor]:
    """Two concentric circles, 1,000 points."""
    x, y = library().make_circles(1000, factor=0.5, noise=0.1, random_state=0)
    return torch.tensor(x / x.std(), dtype=torch.float32), torch.tensor(y)


@cache
def moons() -> tuple[Tensor, Tensor]:
    """Two half-moons, 1,000 points."""
    x, y = library().make_moons(1000, noise=0.1, random_state=0)
    x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


@cache
def spirals() -> tuple[Tensor, Tensor]:
    """Three interleaved spiral arms, 900 points."""
    random = np.random.default_rng(0)
    turn = np.linspace(0.2, 1, 300)
    arms = []
    for arm in range(3):
        angle = 4 * turn + arm * 2 * np.pi / 3 + 0.08 * random.standard_normal(300)
        arms.append(np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1))
    x = np.concatenate(arms)
    return torch.tensor(x / x.std(), dtype=torch.float32), torch.arange(3).repeat_interleave(300)


@cache
def diabetes() -> tuple[Tensor, Tensor]:
    """442 patients, 10 features and a target, all standardised. shapes (442, 10), (442, 1)"""
    x, y = library().load_diabetes(return_X_y=True)
    x, y = x / x.std(0), (y - y.mean()) / y.std()
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]


@cache
def wine(*, raw: bool = False) -> tuple[Tensor, Tensor]:
    """178 wines, 13 features, 3 classes; raw features reach from 0.1 to 1,700."""
    x, y = library().load_wine(return_X_y=True)
    if not raw:
        x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


@cache
def cancer(*, raw: bool = False) -> tuple[Tensor, Tensor]:
    """569 biopsies, 30 features, 2 classes; raw features reach from 0.001 to 4,000."""
    x, y = library().load_breast_cancer(return_X_y=True)
    if not raw:
        x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def first_symbol(length: int, *, symbols: int = 4, samples: int = 512) -> tuple[Tensor, Tensor]:
    """Sequences of symbols, one-hot; the answer is the first of them. shapes (samples, length, symbols), (samples,)"""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(symbols, (samples, length), generator=generator)
    return torch.nn.functional.one_hot(tokens, symbols).float(), tokens[:, 0]


@cache
def english() -> tuple[Tensor, int]:
    """scikit-learn's descriptions of its data sets as character numbers, and how many characters there are."""
    text = "".join(
        load().DESCR for load in (library().load_digits, library().load_diabetes, library().load_breast_cancer)
    )
    characters = sorted(set(text))
    number = {character: index for index, character in enumerate(characters)}
    return torch.tensor([number[character] for character in text]), len(characters)
