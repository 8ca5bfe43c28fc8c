"""The verbs find the room that does the work."""

from pathlib import Path

import numpy as np
import pytest

import isometry
from tests.runs import make_run


@pytest.mark.parametrize("model", [object(), None, "model.pt", dict, lambda x: x])
def test_what_is_no_model_is_refused_in_words(model: object) -> None:
    with pytest.raises(isometry.UnsupportedModel, match=r"was given, but a model.*torch"):
        isometry.watch(model)


def test_class_of_a_model_decides_on_the_adapter_by_its_ancestors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Own(torch.nn.Linear):  # type: ignore[name-defined, misc]
        pass

    model = Own(2, 1)
    with isometry.watch(model, run=tmp_path / "run") as watch:
        model(torch.ones(1, 2)).sum().backward()
        with torch.no_grad():
            model.weight -= 0.1 * model.weight.grad
    assert isometry.load(tmp_path / "run").architecture.model == "Own"
    assert watch.run.architecture.names == isometry.load(str(tmp_path / "run")).architecture.names


def test_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    for verb in (isometry.load, isometry.diagnose, lambda path: isometry.report(path, tmp_path / "report.json")):
        with pytest.raises(isometry.IsometryError, match="nowhere"):
            verb(tmp_path / "nowhere")


def test_diagnosis_and_report_of_a_run_in_memory(tmp_path: Path) -> None:
    run = make_run(delta_rms=np.ones((5, 6)), delta_count=64, activation="tanh")
    diagnosis = isometry.diagnose(run, only=["vanishing_gradient"])
    assert isinstance(diagnosis, isometry.Diagnosis)
    written = isometry.report(diagnosis, tmp_path / "report.json")
    assert written.read_text(encoding="utf-8").startswith("{")
