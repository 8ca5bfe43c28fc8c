"""``make run``: trains a sick network under ``isometry run`` and ends with 0 if its sickness was found."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import isometry

HERE = Path(__file__).parent
SICKNESS = "vanishing_gradient"


def main() -> int:
    script = HERE / "deep_sigmoid.py"
    folder = next(path for number in count(1) if not (path := Path("runs") / f"demo-{number}").exists())
    command = ["isometry", "run", "--fail-on", "never", "--out", str(folder), str(script.relative_to(HERE.parent))]
    print("$", " ".join(command), flush=True)
    ended = subprocess.run([sys.executable, "-m", *command], cwd=HERE.parent, check=False)
    if ended.returncode != 0:
        return ended.returncode
    found = {finding.problem for finding in isometry.diagnose(folder).findings}
    if SICKNESS not in found:
        print(f"The demo should have found {SICKNESS}, but found {', '.join(sorted(found)) or 'nothing'}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
