"""Colours, dashes and markers: one set for figures and pages, told apart by colour-blind readers and on grey paper."""

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DARK",
    "DASHES",
    "LIGHT",
    "MARKERS",
    "SEVERITY_DARK",
    "SEVERITY_LIGHT",
    "SYMBOLS",
    "cividis",
    "png",
    "style_of",
]

LIGHT = ("#0065a3", "#007a58", "#b84a00", "#8a3b87", "#5c6270", "#7a5c00")
"""Okabe and Ito's hues, darkened until text in them has a contrast of 4.5 to 1 on white."""
DARK = ("#62b6f0", "#3ccb9f", "#ff9d5c", "#e39fdf", "#b8bec7", "#f0d264")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2")
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "plus")
SYMBOLS = {"nan": "NaN", "inf": "Inf", "zero": "exactly 0, or below the range of the number type", "spike": "spike"}

SEVERITY_LIGHT = {"STOPS": "#a8122a", "HARMS": "#964600", "SLOWS": "#1d5f8a", "NOTE": "#5c6270", "HEALTHY": "#00694b"}
SEVERITY_DARK = {"STOPS": "#ff8a95", "HARMS": "#ffb066", "SLOWS": "#7cc4f2", "NOTE": "#b8bec7", "HEALTHY": "#4fd6a8"}

_ANCHORS = (
    (0.0, 0, 34, 78),
    (0.0625, 0, 46, 106),
    (0.125, 26, 56, 111),
    (0.1875, 50, 67, 109),
    (0.25, 67, 78, 108),
    (0.3125, 83, 90, 109),
    (0.375, 97, 101, 111),
    (0.4375, 111, 112, 115),
    (0.5, 125, 124, 120),
    (0.5625, 140, 136, 120),
    (0.625, 155, 148, 118),
    (0.6875, 171, 160, 114),
    (0.75, 188, 174, 108),
    (0.8125, 205, 187, 99),
    (0.875, 222, 201, 88),
    (0.9375, 240, 216, 70),
    (1.0, 254, 232, 56),
)
"""Points of the cividis map, which runs evenly from dark to light for readers of every colour vision.

Source: Nuñez, Anderton and Renslow 2018, doi 10.1371/journal.pone.0199239.
"""


def style_of(number: int) -> int:
    """Styles repeat after the last."""
    return number % len(LIGHT)


def cividis(count: int) -> NDArray[np.uint8]:
    """So many colours from dark to light. shape (count, 3)"""
    at = np.linspace(0, 1, count)
    anchors = np.array(_ANCHORS)
    channels = [np.interp(at, anchors[:, 0], anchors[:, channel]) for channel in (1, 2, 3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def png(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> str:
    """A small picture as a data address: palette positions to an 8-bit PNG.

    Args:
        indices: palette position of each point. shape (rows, columns)
        colours: red, green, blue and opacity of the palette. shape (colours, 4)
    """
    height, width = indices.shape
    lines = np.zeros((height, width + 1), dtype=np.uint8)  # each line starts with filter 0
    lines[:, 1:] = indices
    content = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", colours[:, :3].astype(np.uint8).tobytes())
        + _chunk(b"tRNS", colours[:, 3].astype(np.uint8).tobytes())
        + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
