"""VNN-LIB 2.0 files, read by the standard's own parser, as commands of version 1.0.

Of version 2.0 what version 1.0 can say: one network with one input and one output, no hidden nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from math import prod
from types import ModuleType
from typing import Any

from bounds.errors import InvalidFile, Unsupported
from bounds.vnnlib.syntax import MAX_DEPTH, Expr

_VERSION = re.compile(r"\s*\(\s*vnnlib-version\s*<\s*2\.")
_NUMBERS = ("Float", "Int", "IntExpr", "Literal")
# The letter of a variable of the file, X or Y, and its shape.
Letters = dict[str, tuple[str, list[int]]]


def _sides(node: Any) -> Sequence[Any]:
    return (node.lhs, node.rhs)


def _all(node: Any) -> Sequence[Any]:
    return tuple(node.args)


# By kind of node: the word of version 1.0, and the parts.
_PARTS: dict[str, tuple[str, Callable[[Any], Sequence[Any]]]] = {
    "LessEqual": ("<=", _sides),
    "LessThan": ("<", _sides),
    "GreaterEqual": (">=", _sides),
    "GreaterThan": (">", _sides),
    "Equal": ("=", _sides),
    "And": ("and", _all),
    "Or": ("or", _all),
    "Plus": ("+", _all),
    "Multiply": ("*", _all),
    "Negate": ("-", lambda node: (node.expr,)),
    "Minus": ("-", lambda node: (node.head, *node.rest)),
}


def is_second(text: str) -> bool:
    """Whether a text says of itself that it is version 2."""
    return _VERSION.match(text) is not None


def translated(text: str) -> Iterator[Expr]:
    """The declarations and assertions of a file.

    Raises ``InvalidFile`` for what is none, ``Unsupported`` for what version 1.0 cannot say, and where the
    parser, the package ``vnnlib``, is not installed.
    """
    parser = _parser()
    try:
        query = parser.parse_query_string(text)
    except parser.VNNLibException as error:
        raise InvalidFile(f"not VNN-LIB 2.0: {' '.join(str(error).split())[:300]}") from error
    letters: Letters = {}
    if len(query.networks) != 1:
        raise Unsupported(f"the property is about {len(query.networks)} networks; one is supported")
    [network] = query.networks
    if len(network.inputs) != 1 or len(network.outputs) != 1 or network.hidden:
        raise Unsupported(
            "the network has hidden nodes, or not one input and one output; only that is supported"
        )
    for letter, variable in (("X", network.inputs[0]), ("Y", network.outputs[0])):
        letters[variable.name] = letter, list(variable.shape)
        for index in range(prod(variable.shape)):
            yield ("declare-const", f"{letter}_{index}", "Real")
    for assertion in query.assertions:
        yield ("assert", _expr(assertion.expr, letters, 0))


def _parser() -> ModuleType:
    try:
        import vnnlib  # noqa: PLC0415 - only files of version 2.0 need it
    except ImportError as error:
        raise Unsupported(
            "this is VNN-LIB 2.0, which needs the package vnnlib; install certify-bounds[vnnlib], or give "
            "VNN-LIB 1.0"
        ) from error
    module: ModuleType = vnnlib
    return module


def _expr(node: Any, letters: Letters, depth: int) -> Expr:
    """An expression of version 1.0; node: of the parser's tree."""
    kind = type(node).__name__
    if depth > MAX_DEPTH:
        raise InvalidFile(f"nested deeper than {MAX_DEPTH} parentheses")
    if kind == "Var":
        return _variable(node, letters)
    if kind in _NUMBERS:
        return str(node.lexeme)
    if kind not in _PARTS:
        raise Unsupported(f"{str(node)[:80]} ({kind}) is not known; VNN-LIB 1.0 has no such thing")
    word, parts = _PARTS[kind]
    inner = tuple(_expr(part, letters, depth + 1) for part in parts(node))
    if kind == "Equal":
        return ("and", ("<=", *inner), (">=", *inner))
    return (word, *inner)


def _variable(node: Any, letters: Letters) -> Expr:
    """One element, counted as in the flattened tensor."""
    letter, shape = letters[node.name]
    place = 0
    for index, size in zip(node.indices, shape, strict=True):
        place = place * size + index
    return f"{letter}_{place}"
