"""Writes the pages that come from the code: one for each rule, picture and remedy. ``make docs`` runs it.

The pages are kept in the repository, so that they can be read there; a test says when they are out of date.
"""

import sys
from pathlib import Path

from isometry.diagnosis.rule import Rule, rules
from isometry.report.plot import Plot, plots
from isometry.treatment.remedy import Remedy, remedies

DOCS = Path(__file__).parent
FOLDERS = ("rules", "plots", "remedies")
"""Folders that hold generated pages and nothing else."""


def pages() -> dict[Path, str]:
    """Every generated page: its path under ``docs/`` and its text."""
    own = [rule for rule in rules() if rule.judge.__module__.startswith("isometry.")]
    generated = {Path("rules") / f"{rule.code}.md": _rule(rule) for rule in own}
    generated[Path("rules") / "README.md"] = _index(own)
    pictures = [plot for plot in plots() if plot.picture.__module__.startswith("isometry.")]
    generated |= {Path("plots") / f"{plot.name}.md": _plot(plot) for plot in pictures}
    generated[Path("plots") / "README.md"] = _pictures(pictures)
    cures = [remedy for remedy in remedies() if remedy.propose.__module__.startswith("isometry.")]
    generated |= {Path("remedies") / f"{remedy.name}.md": _remedy(remedy) for remedy in cures}
    generated[Path("remedies") / "README.md"] = _cures(cures)
    return generated


def _remedy(remedy: Remedy) -> str:
    title, _, body = remedy.doc.partition("\n\n")
    return "\n".join(
        [
            f"# {remedy.name}",
            "",
            f"*{' '.join(title.split())}*",
            "",
            body.strip(),
            "",
            "| | |",
            "| --- | --- |",
            f"| effect | {remedy.effect} |",
            f"| treats | {', '.join(f'`{problem}`' for problem in remedy.treats)} |",
            f"| source | `src/{remedy.propose.__module__.replace('.', '/')}.py` |",
            "",
            f"Shown by `isometry remedies {remedy.name}`.",
            "",
        ]
    )


def _cures(known: list[Remedy]) -> str:
    heads = {remedy.name: " ".join(remedy.doc.partition("\n\n")[0].split()) for remedy in known}
    rows = [f"| [{remedy.name}]({remedy.name}.md) | {remedy.effect} | {heads[remedy.name]} |" for remedy in known]
    return "\n".join(["# Remedies", "", "| remedy | effect | what it does |", "| --- | --- | --- |", *rows, ""])


def _plot(plot: Plot) -> str:
    title, _, body = plot.doc.partition("\n")
    codes = {rule.code: f"[{rule.code}](../rules/{rule.code}.md)" for rule in rules()}
    proves = ", ".join(codes.get(name, f"`{name}`") for name in plot.proves)
    return "\n".join(
        [
            f"# {plot.name}",
            "",
            f"*{title}*",
            "",
            body.strip(),
            "",
            "| | |",
            "| --- | --- |",
            f"| proves | {proves or 'nothing by itself'} |",
            f"| source | `src/{plot.picture.__module__.replace('.', '/')}.py` |",
            "",
            "Shown by `isometry report RUN`, beside the finding that it proves.",
            "",
        ]
    )


def _pictures(known: list[Plot]) -> str:
    rows = [f"| [{plot.name}]({plot.name}.md) | {plot.doc.partition(chr(10))[0]} |" for plot in known]
    return "\n".join(["# Pictures", "", "| picture | what it shows |", "| --- | --- |", *rows, ""])


def _rule(rule: Rule) -> str:
    title, _, body = rule.doc.partition("\n")
    reads = ", ".join(f"`{signal}` {statistic}" for signal, statistic in rule.reads)
    return "\n".join(
        [
            f"# {rule.code}: {rule.name}",
            "",
            f"*{title}*",
            "",
            body.strip(),
            "",
            "| | |",
            "| --- | --- |",
            f"| problem | `{rule.problem}` |",
            f"| confidence | {rule.confidence:.2f} |",
            f"| reads | {reads or 'curves and events alone'} |",
            f"| source | `{_source(rule)}` |",
            "",
            f"Shown by `isometry rules {rule.code}`.",
            "",
        ]
    )


def _index(known: list[Rule]) -> str:
    rows = [
        f"| [{rule.code}]({rule.code}.md) | `{rule.problem}` | {rule.doc.partition(chr(10))[0]} |" for rule in known
    ]
    return "\n".join(["# Rules", "", "| code | problem | what it means |", "| --- | --- | --- |", *rows, ""])


def _source(rule: Rule) -> str:
    return f"src/{rule.judge.__module__.replace('.', '/')}.py"


def main() -> int:
    generated = pages()
    held = {path for folder in FOLDERS for path in (DOCS / folder).glob("*.md")}
    for stale in held - {DOCS / path for path in generated}:
        stale.unlink()
    for path, text in generated.items():
        (DOCS / path).parent.mkdir(exist_ok=True)
        (DOCS / path).write_text(text, encoding="utf-8")
    print(f"{len(generated)} pages written to {DOCS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
