"""A script that is run by isometry behaves as if python ran it."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
DRIVER = """
import sys
from pathlib import Path
from isometry.adapters.script import run_script
module, script, *arguments = sys.argv[1:]
sys.exit(run_script(script, arguments, run=lambda: Path("never-made"), module=module == "-m").exit_code)
"""


def ended(*command: str, cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def watched(*script: str, module: bool = False, cwd: Path = SCRIPTS) -> tuple[int, str, str]:
    return ended("-c", DRIVER, "-m" if module else "", *script, cwd=cwd)


@pytest.mark.parametrize(
    "script",
    [
        ("identity.py", "--epochs", "3", "--", "-x"),
        ("./identity.py",),
        (str(SCRIPTS / "identity.py"),),
        ("pickles.py",),
        ("raises.py",),
        ("raises_group.py",),
        ("own_hook.py",),
        ("leaving_hook.py",),
        ("threads.py",),
        ("forks.py",),
        ("syntax_error.py",),
        ("broken/uses_broken_torch.py",),
        *(
            ("leaves.py", way)
            for way in ("plainly", "none", "zero", "three", "minus", "true", "words", "float", "no such way")
        ),
    ],
    ids=" ".join,
)
def test_output_traceback_and_exit_code_are_those_of_python(script: tuple[str, ...]) -> None:
    assert watched(*script) == ended(*script, cwd=SCRIPTS)


def test_module_runs_as_with_python_m() -> None:
    assert watched("package", "a", "b", module=True) == ended("-m", "package", "a", "b", cwd=SCRIPTS)


def test_failing_module_keeps_its_traceback() -> None:
    exit_code, out, err = watched("package", "fail", module=True)
    plain_code, plain_out, plain_err = ended("-m", "package", "fail", cwd=SCRIPTS)
    assert (exit_code, out) == (plain_code, plain_out)
    without_runpy = [line for line in plain_err.splitlines() if "<frozen runpy>" not in line]
    assert err.splitlines() == without_runpy


def test_interrupted_script_prints_its_trace_and_ends_with_130() -> None:
    exit_code, out, err = watched("interrupted.py")
    _, plain_out, plain_err = ended("interrupted.py", cwd=SCRIPTS)
    assert (exit_code, out, err) == (130, plain_out, plain_err)


@pytest.mark.parametrize(
    ("script", "module", "words"),
    [
        ("missing.py", False, "There is no file missing.py"),
        ("package", False, "package is a folder"),
        ("missing.module", True, "There is no module missing.module"),
        ("package.missing", True, "There is no module package.missing"),
    ],
)
def test_what_cannot_be_run_is_said(script: str, module: bool, words: str) -> None:
    _, _, err = watched(script, module=module)
    assert f"UnsupportedModel: {words}" in err


def test_script_folder_is_searched_last_once_the_script_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "late.py").write_text("name = 'late'\n")
    (folder / "html.py").write_text("raise AssertionError('not the standard library')\n")
    (folder / "train.py").write_text("import atexit\natexit.register(lambda: print(__import__('late').name))\n")
    driver = (
        "from pathlib import Path; from isometry.adapters.script import run_script;"
        "run_script('project/train.py', run=lambda: Path('x')); import html"
    )
    assert ended("-c", driver, cwd=tmp_path) == (0, "late\n", "")
