"""``isometry rules``."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from isometry.cli.verdict import print_json
from isometry.diagnosis.rule import Rule
from isometry.diagnosis.rule import rules as every_rule
from isometry.errors import IsometryError

__all__ = ["rules"]


def rules(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A rule's code or name, or a problem.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rules as JSON.")] = False,
) -> None:
    """List the rules, or show the page of one."""
    chosen = _chosen(name)
    if as_json:
        print_json([_facts(rule) for rule in chosen])
    elif name is None:
        _list(chosen)
    else:
        print("\n\n".join(map(_page, chosen)))


def _chosen(name: str | None) -> list[Rule]:
    known = every_rule()
    wanted = name.lower() if name is not None else None
    chosen = [rule for rule in known if wanted is None or wanted in (rule.code.lower(), rule.name, rule.problem)]
    if not chosen:
        raise IsometryError(
            f"No rule is called {name!r}, by code, name or problem. `isometry rules` lists the {len(known)} there are."
        )
    return chosen


def _facts(rule: Rule) -> dict[str, Any]:
    return {
        "code": rule.code,
        "name": rule.name,
        "problem": rule.problem,
        "confidence": rule.confidence,
        "reads": [list(column) for column in rule.reads],
        "doc": rule.doc,
    }


def _list(chosen: list[Rule]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for rule in chosen:
        table.add_row(rule.code, rule.problem, rule.doc.partition("\n")[0])
    Console(highlight=False, soft_wrap=False).print(table, markup=False)


def _page(rule: Rule) -> str:
    head = f"{rule.code}  {rule.name}  ·  {rule.problem}  ·  precision on the twins {rule.confidence:.2f}"
    reads = ", ".join(f"{signal} {statistic}" for signal, statistic in rule.reads)
    return f"{head}\n\n{rule.doc}\n\nReads: {reads or 'scalars and events alone'}"
