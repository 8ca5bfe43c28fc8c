"""``import isometry`` is light: old runs are read on machines that have no framework."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isometry.history.recorder import Recorder
from tests.runs import make_run

HEAVY = (
    *("torch", "tensorflow", "keras", "jax", "matplotlib", "pandas", "scipy", "sklearn"),
    *("typer", "click", "rich", "pydantic", "jinja2", "yaml"),
)


def loaded_by(code: str) -> set[str]:
    """Root modules that are loaded once a fresh interpreter has run the code."""
    told = f"{code}\nimport sys; print('\\n' + ' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of a run with ten layers of which the first hear nothing."""
    run = make_run(
        delta_rms=np.tile(np.logspace(-9, -1, 10), (20, 1)), delta_count=640, steps=range(20), activation="sigmoid"
    )
    recorder = Recorder(tmp_path / "run", provenance={})
    columns = {column: run.history[column] for column in run.history.columns}
    recorder.begin(run.architecture, list(columns))
    for row, step in enumerate(run.history.steps):
        recorder.record(int(step), {column: values[row] for column, values in columns.items()})
    recorder.close()
    return tmp_path / "run"


def test_import_loads_numpy_and_no_other_package() -> None:
    beyond = loaded_by("import isometry") - loaded_by("import numpy") - set(sys.stdlib_module_names)
    assert {name for name in beyond if not name.startswith("_")} == {"isometry"}


def test_theory_waits_until_it_is_asked_for_and_needs_numpy_alone() -> None:
    code = """
import isometry, sys
assert "isometry.theory" not in sys.modules
isometry.theory.depth_scale("gelu", 1.4, 0.3)
isometry.theory.sample_profile([4, 4], "relu", 1.0, 0.0, nets=2, seed=0)
"""
    beyond = loaded_by(code) - loaded_by("import numpy, numpy.random") - set(sys.stdlib_module_names)
    assert {name for name in beyond if not name.startswith("_")} == {"isometry"}


def test_reading_diagnosing_and_reporting_a_saved_run_loads_nothing_heavy(saved: Path, tmp_path: Path) -> None:
    code = f"""
import isometry
diagnosis = isometry.diagnose(isometry.load({str(saved)!r}))
print(diagnosis)
for name in ("report.html", "report.json", "report.md"):
    isometry.report(diagnosis, {str(tmp_path)!r} + "/" + name)
"""
    assert loaded_by(code) & set(HEAVY) == set()


def test_asking_for_the_commands_help_loads_no_framework() -> None:
    code = """
import sys; sys.argv = ["isometry", "rules"]
from isometry.__main__ import main
try:
    main()
except SystemExit:
    pass
"""
    assert loaded_by(code) & {"torch", "tensorflow", "keras", "jax", "matplotlib"} == set()


def test_every_public_name_is_there() -> None:
    import isometry

    assert all(hasattr(isometry, name) for name in isometry.__all__)
    assert sorted(isometry.__all__) == list(isometry.__all__)
