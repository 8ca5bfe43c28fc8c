"""Fails deep inside, with a chain of causes."""

import json


def inner(text):
    return json.loads(text)


def outer(text):
    try:
        inner(text)
    except ValueError as fault:
        raise RuntimeError("cannot go on") from fault


print("before")
outer("{")
