"""What a test may need from the machine: where it is missing the test is skipped with the reason, in CI it fails."""

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def need_browser() -> str:
    """Path of a Chromium browser."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return found or missing("no Chromium browser: install one, e.g. `apt-get install chromium`")


def need_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        missing("no Ray: install it, `pip install ray`")


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything should be installed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}; in CI nothing may be missing")
    pytest.skip(reason)
