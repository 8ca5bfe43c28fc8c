"""JSON that every parser reads, after the published schemas."""

import json

import jsonschema
import numpy as np
import pytest

from isometry.errors import IsometryError
from isometry.report.json import SCHEMAS, schema, strict, to_json
from tests.report.drawn import RUNS, diagnosed, vanishing


def read(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("sick", [True, False])
def test_diagnoses_follow_their_schema(name, sick):
    document = read(to_json(diagnosed(RUNS[name](), sick=sick)))
    jsonschema.validate(document, schema("isometry/diagnosis/1"), cls=jsonschema.Draft202012Validator)
    assert document["healthy"] is not sick


@pytest.mark.parametrize("name", RUNS)
def test_runs_follow_their_schema(name):
    jsonschema.validate(read(to_json(RUNS[name]())), schema("isometry/run-summary/1"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_a_schema_refuses_what_it_does_not_describe():
    document = read(to_json(diagnosed(vanishing())))
    document["findings"][0]["severity"] = "BAD"
    with pytest.raises(jsonschema.ValidationError, match="BAD"):
        jsonschema.validate(document, schema("isometry/diagnosis/1"))


def test_an_unknown_schema_is_an_error_in_words():
    with pytest.raises(IsometryError, match="isometry/diagnosis/1"):
        schema("isometry/diagnosis/99")


def test_what_is_not_finite_becomes_a_string():
    given = {"a": float("nan"), "b": np.float32("inf"), "c": (np.int64(3), -np.inf), "d": np.arange(2), "e": np.True_}
    assert strict(given) == {"a": "nan", "b": "inf", "c": [3, "-inf"], "d": [0, 1], "e": True}
