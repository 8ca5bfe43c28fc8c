"""Studies for the tests of the classics."""

from pathlib import Path

from isometry.classics.classic import Study


def fast_study(folder: Path, seeds: int = 8) -> Study:
    """As small as the effect allows."""
    return Study(folder / "study", seeds=tuple(range(seeds)), fast=True)
