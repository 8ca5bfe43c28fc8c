"""Under which circumstances a run was made."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np

__all__ = ["provenance"]


def provenance(**facts: Any) -> dict[str, Any]:
    """Versions, command line, time, machine and git commit, with ``facts`` of the framework's own on top."""
    from importlib.metadata import version

    return {
        "isometry": version("isometry"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "command": list(sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        **facts,
    }


def _commit() -> str | None:
    """The commit of the folder that the training was started in, None outside any repository."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, timeout=2
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
