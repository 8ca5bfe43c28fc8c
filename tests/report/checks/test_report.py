"""Every form of report of a check and of a prediction."""

import json

import jsonschema
import numpy as np
import pytest

import isometry
from isometry.report.json import schema, to_json
from isometry.report.report import FORMS, report
from tests.report.checks.made import CHECKS, broken, healthy, hostile, sick
from tests.report.test_html import read
from tests.report.test_report import STARTS

DRAFT = jsonschema.Draft202012Validator


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("name", CHECKS)
def test_checks_and_predictions_follow_their_schema(name):
    check = CHECKS[name]()
    for thing, kind in ((check, "isometry/check/1"), (check.prediction, "isometry/prediction/1")):
        document = json.loads(to_json(thing), parse_constant=refuse)
        assert document["schema"] == kind
        jsonschema.validate(document, schema(kind), cls=DRAFT)
        assert len(document["layers"]) == len(check.prediction.architecture)


def test_json_holds_measured_and_predicted_layer_by_layer():
    document = json.loads(to_json(sick()))
    first = document["layers"][0]
    assert (first["name"], first["kind"]) == ("fc1", "linear")
    assert first["backward"]["low"] < first["backward"]["measured"] < first["backward"]["high"]
    assert document["healthy"] is False and document["inside"] == 1
    assert document["counterfactuals"][1]["edits"][1] == {
        "edit": "ReplaceActivation",
        "layers": [f"fc{k + 1}" for k in range(12)],
        "activation": "relu",
    }
    assert document["explanation"]["words"] == list(sick().prediction.explanation.words)


def test_json_says_in_words_what_is_not_finite():
    document = json.loads(to_json(broken()))
    assert document["layers"][0]["backward"]["measured"] == "-inf"
    assert document["layers"][0]["forward"] == dict.fromkeys(("measured", "mean", "low", "high"), "nan")
    assert document["jacobian"]["mean_square"] == "nan"


@pytest.mark.parametrize("suffix", [".html", ".json", ".md"])
@pytest.mark.parametrize("name", CHECKS)
def test_no_check_is_too_odd_to_be_reported(name, suffix, tmp_path):
    check = CHECKS[name]()
    for thing in (check, check.prediction):
        written = report(thing, tmp_path / f"check{suffix}")
        assert written.read_bytes().startswith(STARTS[suffix])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [form for form in FORMS if form not in (".html", ".json", ".md")])
def test_checks_can_be_drawn_on_one_sheet(suffix, tmp_path):
    pytest.importorskip("matplotlib")
    for thing in (sick(), healthy().prediction):
        assert isometry.report(thing, tmp_path / f"check{suffix}").read_bytes().startswith(STARTS[suffix])


@pytest.mark.parametrize("made", [sick, broken, hostile])
def test_the_page_is_complete_in_itself(made, tmp_path):
    for thing in (made(), made().prediction):
        page = report(thing, tmp_path / "check.html").read_text()
        reader = read(page)
        assert reader.wrong == [] and reader.open == []
        ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for tag, attributes in reader.elements:
            assert tag not in {"script", "iframe", "link", "img", "form"}
            assert not any(name.startswith("on") for name in attributes)
            for name in (attributes.get("aria-labelledby") or "").split():
                assert name in ids


def test_markdown_takes_no_name_for_markup(tmp_path):
    assert "<script>" not in report(hostile(), tmp_path / "check.md").read_text()


def test_the_verdict_of_the_page_is_that_of_the_check(tmp_path):
    assert "<h1>The gradient vanishes</h1>" in report(sick(), tmp_path / "check.html").read_text()
    page = report(healthy(), tmp_path / "check.html").read_text()
    assert "<h1>Healthy before its first step</h1>" in page
    assert np.all([words in page for words in ("What theory says", "Layer by layer", "What was checked")])
