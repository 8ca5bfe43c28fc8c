import json

import pytest

from isometry.history.run import Run
from tests.runs import make_run


def test_summary_has_the_facts_above_every_report():
    end = {"step": 1120, "steps": 1120, "recorded": 1, "cost": 0.07, "elapsed": 10.0, "ending": "finished"}
    run = make_run(delta_rms=[1.0, 2.0], events={"end": [end]}, provenance={"name": "train-1"})
    summary = run.summary()
    assert summary["name"] == "train-1"
    assert (summary["steps"], summary["recorded"], summary["layers"]) == (1120, 1, 2)
    assert summary["cost_share"] == pytest.approx(0.007)
    assert summary["ending"] == "finished"
    assert (summary["model"], summary["framework"]) == ("Drawn", "none")


def test_a_run_that_did_not_end_claims_no_cost(tmp_path):
    run = make_run(delta_rms=[1.0])
    run = Run(run.architecture, run.history, {}, tmp_path / "first")
    assert run.summary()["name"] == run.summary()["folder"] == "first"
    assert run.summary()["cost_share"] is None
    assert run.summary()["ending"] is None


def test_a_run_is_json():
    told = make_run(delta_rms=[1.0, 2.0], activation="relu").to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["columns"] == [["delta", "rms"]]
