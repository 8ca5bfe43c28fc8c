"""``make run``: diagnoses a training that learns nothing, cures it, and proves the cure.

Ends with 0 if the sickness was found and a change of the script helped.
"""

import subprocess
import sys
from itertools import count
from pathlib import Path

import isometry

HERE = Path(__file__).parent
SICKNESS = "vanishing_gradient"


def isometry_says(*arguments: str) -> int:
    """Carry out a command as one would type it."""
    print("$ isometry", " ".join(arguments), flush=True)
    return subprocess.run([sys.executable, "-m", "isometry", *arguments], cwd=HERE.parent, check=False).returncode


def main() -> int:
    script = str((HERE / "deep_sigmoid.py").relative_to(HERE.parent))
    folder = next(path for number in count(1) if not (path := Path("runs") / f"demo-{number}").exists())
    watched, treated, story = folder / "watched", folder / "treated", folder / "fix.html"
    code = isometry_says("run", "--fail-on", "never", "--out", str(watched), script)
    if code != 0:
        return code
    found = {finding.problem for finding in isometry.diagnose(watched).findings}
    if SICKNESS not in found:
        print(f"The demo should have found {SICKNESS}, but found {', '.join(sorted(found)) or 'nothing'}.")
        return 1
    print()
    return isometry_says("fix", "--metric", "accuracy", "--out", str(treated), "--report", str(story), script)


if __name__ == "__main__":
    sys.exit(main())
