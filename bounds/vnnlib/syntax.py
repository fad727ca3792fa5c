"""From bytes to nested expressions: the syntax of VNN-LIB files, a small part of SMT-LIB 2."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bounds.errors import InvalidFile

# An expression is a word or a tuple of expressions.
Expr = str | tuple["Expr", ...]

MAX_BYTES = 2**27
MAX_DEPTH = 100
_COMMENT = re.compile(r";[^\n]*")
# An expression without a parenthesis inside is one token: most of a large file is made of few such texts.
_TOKEN = re.compile(r"\([^()]*\)|[()]|[^\s()]+")


def read_text(path: Path) -> str:
    """The text of a plain or gzip-compressed file, comments blanked.

    Raises ``InvalidFile`` for a file that is missing, truncated, too large or no text.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if compressed else path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InvalidFile(f"{path}: the gzip stream is truncated or damaged; fetch the file again") from error
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{path}: not a text file; give a VNN-LIB property") from error
    if len(data) > MAX_BYTES:
        raise InvalidFile(f"{path}: larger than {MAX_BYTES >> 20} MiB unpacked; split the property")
    return _COMMENT.sub("", text)


def expressions(text: str) -> Iterator[tuple[int, Expr]]:
    """The top-level expressions, each with the index of its first token (see ``line_of``).

    Raises ``InvalidFile`` for parentheses that do not match or nest deeper than ``MAX_DEPTH``.
    """
    leaves: dict[str, Expr] = {}
    stack: list[list[Expr]] = []
    start = 0
    for index, token in enumerate(_TOKEN.findall(text)):
        if not stack:
            start = index
        if token == "(":
            stack.append([])
            if len(stack) > MAX_DEPTH:
                raise InvalidFile(f"line {line_of(text, start)}: nested deeper than {MAX_DEPTH} parentheses")
            continue
        if token == ")":
            if not stack:
                raise InvalidFile(f"line {line_of(text, index)}: a parenthesis closes that was never opened")
            expr: Expr = tuple(stack.pop())
        elif token[0] == "(":
            expr = leaves.get(token) or leaves.setdefault(token, tuple(token[1:-1].split()))
        else:
            expr = token
        if stack:
            stack[-1].append(expr)
        else:
            yield start, expr
    if stack:
        raise InvalidFile(
            f"line {line_of(text, start)}: a parenthesis is never closed; the file may be truncated"
        )


def line_of(text: str, token: int) -> int:
    """The line number, from 1, of a token."""
    match = next(islice(_TOKEN.finditer(text), token, None))
    return text.count("\n", 0, match.start()) + 1


def show(expr: Expr, limit: int = 80) -> str:
    """The expression as text, shortened for messages."""
    words: list[str] = []
    _spell(expr, words, limit)
    text = "".join(words).rstrip()
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def _spell(expr: Expr, words: list[str], limit: int) -> None:
    if isinstance(expr, str):
        words.append(f"{expr[:limit]} ")
        return
    words.append("(")
    for part in expr[:limit]:
        _spell(part, words, limit)
        if len(words) > limit:
            return
    words[-1] = words[-1].rstrip()
    words.append(") ")
