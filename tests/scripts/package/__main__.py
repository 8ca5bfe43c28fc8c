"""Reads itself as the interpreter started it."""

import sys

from . import part

print(__name__, __package__, __spec__.name, sys.argv[1:], sys.argv[0] == __file__)
if "fail" in sys.argv:
    part.fail()
