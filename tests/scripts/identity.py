"""Prints everything that a script can see of how it was started."""

import sys

import __main__

number: int = 3

print(__name__, __file__, __spec__, __package__, __cached__, __doc__)
print(type(__loader__).__name__, __builtins__ is sys.modules["builtins"], __annotations__)
print(sys.argv, sys.path[0], sys.excepthook is sys.__excepthook__)
print(__main__.__dict__ is globals(), sorted(globals()))
