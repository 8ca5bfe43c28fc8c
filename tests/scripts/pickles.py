"""Sends objects of its own classes through pickle and through child processes of both kinds."""

import multiprocessing
import pickle
from dataclasses import dataclass
from enum import Enum


@dataclass
class Point:
    x: int


class Colour(Enum):
    RED = 1


def twice(point: Point) -> Point:
    return Point(2 * point.x)


if __name__ == "__main__":
    print(pickle.loads(pickle.dumps((Point(3), Colour.RED, twice))) == (Point(3), Colour.RED, twice))
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.map(twice, [Point(4)]))
