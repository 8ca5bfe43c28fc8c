"""Fails where its caller asks it to."""


def fail():
    raise ValueError("from the package")
