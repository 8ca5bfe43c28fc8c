"""Puts another network in the place of the one that a classic builds."""

import pytest

from isometry.classics.build import networks


def swap_activation(monkeypatch: pytest.MonkeyPatch, taken: str, given: str) -> None:
    """Whenever a classic asks for one activation it gets another; ``*`` stands for any."""
    original = networks.mlp

    def swapped(widths, activation, **more):
        return original(widths, given if taken in (activation, "*") else activation, **more)

    monkeypatch.setattr(networks, "mlp", swapped)
