"""Writes ``docs/classics`` from the results of ``isometry classic --all``. ``make gallery`` runs both.

python docs/gallery.py runs/classics
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from isometry.classics.classic import classics

DOCS = Path(__file__).parent / "classics"
MARKS = {"stands": "stands", "stands in part": "**stands in part**", "does not stand": "**does not stand**"}


def main(results: Path) -> int:
    facts = [json.loads((results / one.name / "result.json").read_text(encoding="utf-8")) for one in classics()]
    small = [fact["name"] for fact in facts if fact["made_by"]["fast"]]
    if small:
        print(f"{', '.join(small)}: made with --fast; run `isometry classic --all` in full first.", file=sys.stderr)
        return 2
    DOCS.mkdir(exist_ok=True)
    for stale in [*DOCS.glob("*.png"), *DOCS.glob("*.md")]:
        stale.unlink()
    for fact in facts:
        first = fact["pictures"][0]
        shutil.copyfile(results / fact["name"] / first, DOCS / first)
    (DOCS / "README.md").write_text("\n".join(page(facts)), encoding="utf-8")
    print(f"{len(facts)} classics written to {DOCS}")
    return 0


def page(facts: list[dict[str, Any]]) -> list[str]:
    seeds = sorted({len(fact["made_by"]["seeds"]) for fact in facts})
    seconds = sum(fact["seconds"] for fact in facts)
    torch = facts[0]["made_by"]["versions"]["torch"]
    lines = [
        "# The textbook experiments, rerun",
        "",
        "Made by `make gallery`; do not edit. `isometry classic NAME` reruns one with all its pictures, "
        "`isometry classic --all` all of them.",
        "",
        f"{' or '.join(str(count) for count in seeds)} seeds each, torch {torch}, {seconds:.0f} s of one core in all.",
        "",
    ]
    for fact in facts:
        lines += _section(fact)
    return lines


def _section(fact: dict[str, Any]) -> list[str]:
    lines = [
        f"## {fact['title']}",
        "",
        f"`isometry classic {fact['name']}` · {', '.join(fact['covers'])} · {fact['source']}",
        "",
        f"![{fact['title']}]({fact['pictures'][0]})",
        "",
        "| claimed | measured | verdict |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {_cell(claim['words'])} | {_cell(claim['measured'])} | {MARKS[claim['verdict']]} |"
        for claim in fact["claims"]
    ]
    lines += ["", *(f"{remark}\n" for remark in fact["remarks"])]
    return lines


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/classics")))
