"""A classic that has been run, kept in its folder: numbers as JSON, pictures, a page, the watched runs.

``result.json`` is written last, so what is there is whole. A result is of use again as long as the same code, sizes and
versions would make it.
"""

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from isometry.classics.classic import Classic, Exhibit, Study
from isometry.report.draw import encoded, figure
from isometry.report.json import strict
from isometry.report.text import headline

__all__ = ["Result", "keep", "kept"]

SCHEMA = "isometry/classic/1"
RESULT, SECTION = "result.json", "section.html"
SHARED = ("adapters/torch/train.py", "classics/comparison.py", "classics/spread.py")
"""Code that makes the numbers of several classics, beside what is built for them."""
PACKAGES = ("isometry", "numpy", "torch", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Result:
    """What is kept of a classic."""

    folder: Path
    facts: Mapping[str, Any]
    """As in ``result.json``."""
    section: str
    """The piece of HTML that shows it, headed by an ``h2``."""
    is_new: bool = True
    """Made now; False where it was there already."""

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    @property
    def as_expected(self) -> bool:
        return bool(self.facts["as_expected"])


def keep(classic: Classic, study: Study, exhibit: Exhibit, *, section: str, seconds: float) -> Result:
    """Write pictures and numbers of a classic that has just been run."""
    pictures = []
    for place, chart in enumerate(exhibit.charts, start=1):
        picture = study.folder / f"{classic.name}-{place}.png"
        picture.write_bytes(encoded(figure(chart), "png"))
        pictures.append(picture.name)
    facts = {
        "schema": SCHEMA,
        "name": classic.name,
        "title": classic.title,
        "covers": classic.covers,
        "source": classic.source,
        "as_expected": exhibit.as_expected,
        "claims": [
            {
                "words": claim.words,
                "measured": claim.measured,
                "verdict": claim.verdict,
                "expected": claim.expected,
            }
            for claim in exhibit.claims
        ],
        "numbers": exhibit.numbers,
        "remarks": exhibit.remarks,
        "diagnoses": {words: headline(diagnosis) for words, diagnosis in exhibit.diagnoses.items()},
        "pictures": pictures,
        "seconds": round(seconds, 1),
        "made_by": _made_by(classic, study),
    }
    (study.folder / SECTION).write_text(section, encoding="utf-8")
    text = json.dumps(strict(facts), ensure_ascii=False, allow_nan=False, indent=2)
    (study.folder / RESULT).write_text(text + "\n", encoding="utf-8")
    return Result(study.folder, json.loads(text), section)


def kept(classic: Classic, study: Study) -> Result | None:
    """The result that is there already, if the same code would make it again."""
    try:
        facts = json.loads((study.folder / RESULT).read_text(encoding="utf-8"))
        section = (study.folder / SECTION).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or facts.get("made_by") != strict(_made_by(classic, study)):
        return None
    return Result(study.folder, facts, section, is_new=False)


def _made_by(classic: Classic, study: Study) -> dict[str, Any]:
    """Everything that the numbers depend on."""
    sources = [Path(inspect.getfile(classic.experiment)).read_bytes()]
    package = files("isometry")
    sources += [(package / shared).read_bytes() for shared in SHARED]
    shelf = package / "classics" / "build"
    sources += [entry.read_bytes() for entry in sorted(shelf.iterdir(), key=str) if entry.name.endswith(".py")]
    return {
        "seeds": study.seeds,
        "fast": study.fast,
        "images": study.images,
        "code": hashlib.sha256(b"\0".join(sources)).hexdigest()[:16],
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
