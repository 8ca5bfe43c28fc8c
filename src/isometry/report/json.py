"""Diagnoses, runs, checks, predictions and outcomes as strict JSON, after schemas that are part of the package."""

import json
import math
from importlib.resources import files
from typing import Any

from isometry.diagnosis.check import Check, Prediction
from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.treatment.outcome import Outcome

__all__ = ["SCHEMAS", "schema", "strict", "to_json"]

SCHEMAS = {
    "isometry/check/1": "check-1.json",
    "isometry/diagnosis/1": "diagnosis-1.json",
    "isometry/outcome/1": "outcome-1.json",
    "isometry/prediction/1": "prediction-1.json",
    "isometry/run-summary/1": "run-summary-1.json",
}
"""Published schemas: the name that a document carries under ``schema``, and its file."""


def to_json(thing: Diagnosis | Run | Check | Prediction | Outcome) -> str:
    """A value as JSON that every parser reads.

    JSON knows no NaN and no infinity: they stand as the strings ``"nan"``, ``"inf"`` and ``"-inf"``.
    """
    return json.dumps(strict(thing.to_dict()), ensure_ascii=False, allow_nan=False, indent=2)


def strict(value: Any) -> Any:
    """The same with tuples as lists, NumPy numbers as plain ones, and what is not finite as a string."""
    match value:
        case None | bool() | str():
            return str(value) if isinstance(value, str) else value
        case dict():
            return {str(key): strict(entry) for key, entry in value.items()}
        case list() | tuple() | set() | frozenset():
            return [strict(entry) for entry in value]
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
    plain = value.tolist() if hasattr(value, "tolist") else str(value)
    return plain if isinstance(plain, str) else strict(plain)


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of document, e.g. ``isometry/diagnosis/1``."""
    if name not in SCHEMAS:
        raise IsometryError(f"No schema is called {name!r}. Published are: {', '.join(SCHEMAS)}.")
    text = (files("isometry.report") / "schema" / SCHEMAS[name]).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
