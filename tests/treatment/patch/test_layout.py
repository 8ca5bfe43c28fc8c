"""Patches of many names."""

from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import Reinitialise
from isometry.treatment.patch import patch


def test_long_lists_of_names_keep_to_the_page():
    names = tuple(f"encoder.blocks.{place}.project in" for place in range(40))
    layers = tuple(Layer(name, "linear", "Linear", fan_in=4, fan_out=4, weight_shape=(4, 4)) for name in names)
    code = patch([Reinitialise(names, 1.0)], Architecture(layers, framework="torch"))
    compile(code, "patch", "exec")
    assert max(len(line) for line in code.splitlines()) <= 100
    assert all(f'"{name}"' in code for name in names)
