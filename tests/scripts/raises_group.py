"""Fails with several exceptions at once."""


def attempt(kind):
    try:
        raise kind("from one of them")
    except kind as fault:
        return fault


raise ExceptionGroup("several", [attempt(ValueError), attempt(KeyError)])
