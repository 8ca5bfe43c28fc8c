"""Other random numbers for a script that chooses its seeds itself.

Every trial has a number. Whatever seed the script asks for, trial k gets one that differs from that of all other trials
and is the same in each arm; trial 0 gets the seed that was asked for. Generators of the script's own are left alone:
what is drawn from them is usually data.
"""

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["seed_python", "shifting"]

APART = 1_000_003
"""A prime, so that seeds 0, 1, 2 … of one trial are not those of another."""
SEEDS = 2**32
"""NumPy takes none that is larger."""


def shifting(function: Callable[..., Any], trial: int) -> Callable[..., Any]:
    """A function that takes a seed first, given another one for each trial."""

    @functools.wraps(function)
    def seeded(seed: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
            seed = (int(seed) + APART * trial) % SEEDS
        return function(seed, *args, **kwargs)

    return seeded


def seed_python(trial: int) -> None:
    """Seed Python's and NumPy's global generators, and shift the seeds that anybody gives them from now on."""
    random.seed(trial)
    np.random.seed(trial)
    if trial:
        random.seed = shifting(random.seed, trial)
        np.random.seed = shifting(np.random.seed, trial)
