"""A program that is a package, for ``python -m``."""
