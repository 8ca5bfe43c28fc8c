"""``isometry remedies``."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from isometry.cli.verdict import print_json
from isometry.errors import IsometryError
from isometry.treatment.remedy import Remedy
from isometry.treatment.remedy import remedies as every_remedy

__all__ = ["remedies"]


def remedies(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A remedy, or a problem that it treats.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the remedies as JSON.")] = False,
) -> None:
    """List the remedies, or show the page of one."""
    chosen = _chosen(name)
    if as_json:
        print_json([_facts(remedy) for remedy in chosen])
    elif name is None:
        _list(chosen)
    else:
        print("\n\n".join(map(_page, chosen)))


def _chosen(name: str | None) -> list[Remedy]:
    known = every_remedy()
    wanted = name.lower() if name is not None else None
    chosen = [remedy for remedy in known if wanted is None or wanted == remedy.name or wanted in remedy.treats]
    if not chosen:
        raise IsometryError(
            f"No remedy is called {name!r}, nor is there one for a problem of that name. `isometry remedies` lists the "
            f"{len(known)} there are."
        )
    return chosen


def _facts(remedy: Remedy) -> dict[str, Any]:
    return {"name": remedy.name, "treats": list(remedy.treats), "effect": str(remedy.effect), "doc": remedy.doc}


def _list(chosen: list[Remedy]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for remedy in chosen:
        table.add_row(remedy.name, str(remedy.effect), remedy.doc.partition("\n")[0])
    Console(highlight=False, soft_wrap=False).print(table, markup=False)


def _page(remedy: Remedy) -> str:
    return f"{remedy.name}  ·  {remedy.effect}\n\n{remedy.doc}\n\nTreats: {', '.join(remedy.treats)}"
