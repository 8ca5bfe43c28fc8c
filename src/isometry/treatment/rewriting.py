"""A Python file that is being changed: pieces of its text are replaced, and the rest stays as it is, sign by sign."""

import ast
import difflib
import io
import re
import tokenize
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from isometry.errors import IsometryError
from isometry.treatment.places import Place

__all__ = ["SourceFile", "Unplaced", "renamed"]

MARK = "\ufeff"
SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
"""Expressions with variables of their own."""
CONTEXT = 3
"""Lines round a change in a diff."""


class Unplaced(IsometryError):
    """A change that has no place of its own in the source."""


class SourceFile:
    """The text of a file, and the changes to it that have been asked for.

    Args:
        path: where it lies.
        name: what it is called in a diff.
        digest: of its content when it ran.

    Raises:
        Unplaced: it is not there, not what it was, or ends its lines in a way that a diff cannot tell.
    """

    def __init__(self, path: Path, name: str, digest: str) -> None:
        try:
            content = path.read_bytes()
            encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0].removesuffix("-sig")
            self.text = content.decode(encoding)
        except (OSError, SyntaxError, UnicodeDecodeError) as fault:
            raise Unplaced(f"{name}: it cannot be read ({fault}).") from None
        if blake2b(content, digest_size=8).hexdigest() != digest:
            raise Unplaced(f"{name}: it is not what it was when it ran.")
        if "\r" in self.text.replace("\r\n", ""):
            raise Unplaced(f"{name}: its lines end with a carriage return alone.")
        self.name = name
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        self.tree = ast.parse(self.text.removeprefix(MARK))
        self._lines = self.text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._parents = {child: parent for parent in ast.walk(self.tree) for child in ast.iter_child_nodes(parent)}
        self._calls = {
            (node.end_lineno, node.end_col_offset): node for node in ast.walk(self.tree) if isinstance(node, ast.Call)
        }
        self._pieces: list[tuple[int, int, str]] = []
        self._imports = _imports(self.tree)
        self._new_imports: list[str] = []

    # ------------------------------------------------------------------ looking

    def call_at(self, place: Place) -> ast.Call:
        """The call that was under way there."""
        call = self._calls.get((place.end_line, place.end_column))
        if call is None:
            raise Unplaced(f"{self.name}, line {place.line}: no call stands there.")
        return call

    def statement_of(self, node: ast.AST) -> ast.stmt:
        """The statement round an expression, which has the same variables."""
        while not isinstance(node, ast.stmt):
            if isinstance(node, SCOPES):
                raise Unplaced(
                    f"{self.name}, line {node.lineno}: it stands in a function or a loop inside an expression."
                )
            node = self._parents[node]
        return node

    def parent(self, node: ast.AST) -> ast.AST:
        return self._parents[node]

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.end_lineno, node.end_col_offset)

    def words(self, node: ast.expr) -> str:
        """The text of an expression."""
        return self.text[self.start(node) : self.end(node)]

    @property
    def identifiers(self) -> frozenset[str]:
        """Every name that the code has for anything."""
        names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        names |= {node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)}
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        names |= {node.name for node in ast.walk(self.tree) if isinstance(node, defined)}
        return frozenset(names | set(self._imports.values()))

    def known_as(self, module: str) -> str | None:
        """What the file calls a module that it imports; None where it does not."""
        if module in self._imports:
            return self._imports[module]
        package, _, name = module.rpartition(".")
        return f"{known}.{name}" if package and (known := self.known_as(package)) else None

    def name_of(self, module: str) -> str:
        """The same; the root of the module will be imported where it is not yet."""
        known = self.known_as(module)
        if known is not None:
            return known
        root = module.partition(".")[0]
        if root in self.identifiers:
            raise Unplaced(f"{self.name}: {root} is the name of something else there.")
        self._imports[root] = root
        self._new_imports.append(f"import {root}")
        return module

    # ----------------------------------------------------------------- changing

    def replace(self, start: int, end: int, words: str) -> None:
        """Other text from one offset to another. The same change may be asked for again."""
        piece = (start, end, words)
        if piece in self._pieces and start < end:
            return
        if any(start < other_end and other_start < end for other_start, other_end, _ in self._pieces):
            raise Unplaced(f"{self.name}, line {self.text.count(chr(10), 0, start) + 1}: two changes meet.")
        self._pieces.append(piece)

    def insert_before(self, statement: ast.stmt, code: str) -> None:
        """Code of its own lines before a statement, as far indented."""
        row = self._row(statement)
        first = row.index(statement)
        if first:
            self._part(row[first - 1], statement, code, row)
            return
        start = self._starts[_first_line(statement) - 1]
        self._pieces.append((start, start, self._indented(code, self.indentation(statement))))

    def insert_behind(self, statement: ast.stmt, code: str) -> None:
        """Code of its own lines behind a statement, as far indented."""
        row = self._row(statement)
        if statement is not row[-1]:
            self._part(statement, row[row.index(statement) + 1], code, row)
            return
        assert statement.end_lineno is not None
        words = self._indented(code, self.indentation(row[0]))
        start = self._starts[statement.end_lineno]
        if start > len(self.text):  # the last line has no end
            start, words = len(self.text), self.newline + words.removesuffix(self.newline)
        self._pieces.append((start, start, words))

    def _part(self, one: ast.stmt, next_one: ast.stmt, code: str, row: list[ast.stmt]) -> None:
        """Code between two statements of one line, which becomes two."""
        indentation, start = self.indentation(row[0]), self.start(next_one)
        self.replace(self.end(one), start, self.newline + indentation)
        words = self._indented(f"{code}\n", indentation)
        self._pieces.append((start, start, words.removeprefix(indentation) + indentation))

    def insert_above(self, node: ast.AST, code: str) -> None:
        """Definitions at the outermost level, above the one that a node stands in."""
        while self._parents[node] is not self.tree:
            node = self._parents[node]
        assert isinstance(node, ast.stmt)
        line = _first_line(node)
        while line > 1 and self._lines[line - 2].startswith("#"):
            line -= 1
        start = self._starts[line - 1]
        apart = "\n\n" if line > 1 and self._lines[line - 2].strip() else ""
        self._pieces.append((start, start, self._indented(f"{apart}{code}\n\n\n", "")))

    def indentation(self, statement: ast.stmt) -> str:
        line = self._lines[statement.lineno - 1]
        return line[: len(line) - len(line.lstrip())]

    def block_of(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statements that are carried out one after another, of which this is one."""
        parent = self._parents[statement]
        blocks = [block for _, block in ast.iter_fields(parent) if isinstance(block, list) and statement in block]
        return list(blocks[0])

    def _row(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statements that share lines, this one among them."""
        row: list[ast.stmt] = []
        for one in self.block_of(statement):
            if row and row[-1].end_lineno != one.lineno:
                if statement in row:
                    break
                row = []
            row.append(one)
        first, last = row[0], row[-1]
        before = self.text[self._starts[first.lineno - 1] : self.start(first)]
        behind = self.text[self.end(last) :].partition("\n")[0].strip()
        if before.strip(" \t\f") or (behind and not behind.startswith("#")):
            raise Unplaced(f"{self.name}, line {statement.lineno}: no line can be put in there.")
        return row

    def _indented(self, code: str, indentation: str) -> str:
        tabs = "\t" in indentation or (not indentation and "\n\t" in self.text)
        lines = []
        for line in code.split("\n"):
            inner = line[: len(line) - len(line.lstrip(" "))]
            inner = inner.replace("    ", "\t") if tabs else inner
            lines.append(f"{indentation}{inner}{line.lstrip(' ')}" if line.strip() else "")
        return self.newline.join([*lines, ""]) if lines[-1] else self.newline.join(lines)

    def _offset(self, line: int, column: int) -> int:
        """Of a line from 1 and a column in bytes."""
        mark = MARK if line == 1 and self.text.startswith(MARK) else ""
        words = self._lines[line - 1].removeprefix(mark)
        return self._starts[line - 1] + len(mark) + len(words.encode()[:column].decode())

    # ------------------------------------------------------------------- result

    @property
    def is_changed(self) -> bool:
        return bool(self._pieces)

    def mark(self) -> tuple[int, int, dict[str, str]]:
        """The present state, to come back to."""
        return len(self._pieces), len(self._new_imports), dict(self._imports)

    def back_to(self, mark: tuple[int, int, dict[str, str]]) -> None:
        """Forget what has been asked for since."""
        del self._pieces[mark[0] :]
        del self._new_imports[mark[1] :]
        self._imports = mark[2]

    def changed(self) -> str:
        """The text with all changes made."""
        pieces = list(self._pieces)
        if self._new_imports:
            first = self._starts[_first_import(self.tree) - 1]
            pieces.append((first, first, "".join(f"{line}{self.newline}" for line in self._new_imports)))
        parts, at = [], 0
        for start, end, words in sorted(pieces, key=lambda piece: piece[:2]):
            parts += [self.text[at:start], words]
            at = end
        return "".join([*parts, self.text[at:]])

    def require_sound(self) -> None:
        """Refuse a text that is no Python any more."""
        try:
            ast.parse(self.changed().removeprefix(MARK))
        except SyntaxError as fault:
            raise Unplaced(f"{self.name}: the changes do not fit ({fault}).") from None

    def diff(self) -> str:
        """The changes as a unified diff; empty where there is none."""
        name = f"{self.name}\t" if " " in self.name else self.name
        old, new = _with_ends(self.text), _with_ends(self.changed())
        lines = difflib.unified_diff(old, new, name, name, n=CONTEXT)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def renamed(code: str, names: Mapping[str, str]) -> str:
    """Code with other names for some variables; attributes and keywords that are called alike stay."""
    lines = code.split("\n")
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.type != tokenize.NL]
    depth, found = 0, []
    for before, token, behind in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        depth += token.string in {"(", "[", "{"} and token.type == tokenize.OP
        depth -= token.string in {")", "]", "}"} and token.type == tokenize.OP
        is_part = before is not None and before.string == "."
        is_keyword = depth > 0 and behind is not None and behind.string == "="
        if token.type == tokenize.NAME and token.string in names and not is_part and not is_keyword:
            found.append(token)
    for token in reversed(found):
        line, column = token.start
        words = lines[line - 1]
        lines[line - 1] = words[:column] + names[token.string] + words[column + len(token.string) :]
    return "\n".join(lines)


def _imports(tree: ast.Module) -> dict[str, str]:
    """Full names of modules → what the file calls them; imports inside functions do not count."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                found.setdefault(*((alias.name, alias.asname) if alias.asname else (root, root)))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found.setdefault(f"{node.module}.{alias.name}", alias.asname or alias.name)
    return found


def _first_import(tree: ast.Module) -> int:
    """The line before which an import may stand."""
    body = list(tree.body)
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body.pop(0)  # the docstring
    while body and isinstance(body[0], ast.ImportFrom) and body[0].module == "__future__":
        body.pop(0)
    return _first_line(body[0]) if body else 1


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _with_ends(text: str) -> list[str]:
    """Lines with their ends; no other sign ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
