"""Code to paste, made to fit into somebody's file: what goes to its outermost level, and which names are free."""

import ast
import re
import textwrap

from isometry.treatment.rewriting import SourceFile, renamed

__all__ = ["taken_apart", "with_free_names"]

WIDTH = 100


def taken_apart(code: str) -> tuple[list[str], str]:
    """The definitions in a patch that stand for themselves, and the rest, without imports."""
    lines = code.split("\n")
    definitions: list[str] = []
    body: list[str] = []
    at, follows = 0, False
    for node in ast.parse(code).body:
        assert node.end_lineno is not None
        words = "\n".join(lines[at : node.end_lineno]).strip("\n")
        at = node.end_lineno
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not _needs(node):
            definitions.append(_here(words))
        else:
            apart = isinstance(node, ast.FunctionDef) or words.startswith("#") or follows
            body.append("\n\n" * apart + _here(words))
        follows = isinstance(node, ast.FunctionDef)
    rest = "\n".join(lines[at:]).strip("\n")
    return definitions, "\n".join([*body, *([f"\n{_here(rest)}"] if rest else [])]).strip("\n")


def _needs(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a definition uses the network or the optimiser, and not as an argument."""
    arguments = {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return bool((names - arguments) & {"model", "optimizer"})


def _here(words: str) -> str:
    """Code whose comment no longer says where to put it."""
    lines = words.split("\n")
    count = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.removeprefix("#").strip() for line in lines[:count])
    comment = re.sub(r"; (behind|before) the line[^.]*\.", ".", comment)
    comment = re.sub(r"^Behind the line that makes the optimiser; it", "It", comment)
    comment = re.sub(r" Where forward\(\) calls.*", "", comment)
    told = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
    return "\n".join([*told, *lines[count:]])


def with_free_names(body: str, file: SourceFile, *, keep: frozenset[str]) -> str:
    """Code whose own variables are called like nothing in the file."""
    taken, names = file.identifiers, {}
    for name in sorted(_bound(ast.parse(body)) - keep):
        free = name
        while free in taken:
            free += "_"
        if free != name:
            names[name] = free
    return renamed(body, names) if names else body


def _bound(tree: ast.Module) -> set[str]:
    """Names that code gives to something, outside functions of its own."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        waiting += ast.iter_child_nodes(node)
    return found
