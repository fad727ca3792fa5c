"""Comparisons of linear terms, exact in rationals until one last rounding in the safe direction."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

from bounds.errors import InvalidFile, Unsupported
from bounds.vnnlib.syntax import Expr, show

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_MAX_DIGITS = 400
_ZERO, _ONE = Fraction(0), Fraction(1)
_COMPARE = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}


@dataclass(frozen=True)
class Limit:
    """``X_index >= value`` where ``is_lower``, else ``X_index <= value``; rounded away from the set."""

    index: int
    is_lower: bool
    value: float


@dataclass(frozen=True)
class Row:
    """``sum coefficients . Y + offset <= 0``; coefficients exact, offset rounded down."""

    coefficients: tuple[tuple[int, float], ...]
    offset: float


@dataclass(frozen=True)
class Constant:
    """A comparison without variables."""

    holds: bool


Atom = Limit | Row | Constant


@dataclass(frozen=True)
class Linear:
    """``sum terms . variables + constant``, exact."""

    terms: Mapping[str, Fraction]
    constant: Fraction


def combine(parts: Iterable[tuple[Fraction | int, Linear]]) -> Linear:
    """``sum factor * term``; terms that cancel are dropped."""
    terms: dict[str, Fraction] = {}
    constant = _ZERO
    for factor, part in parts:
        if part.constant:
            constant = _plus(constant, factor, part.constant)
        for name, value in part.terms.items():
            terms[name] = _plus(terms.get(name, _ZERO), factor, value)
    return Linear({name: value for name, value in terms.items() if value}, constant)


def _plus(total: Fraction, factor: Fraction | int, value: Fraction) -> Fraction:
    """``total + factor * value``; nearly all are +-1 times a number, and rational arithmetic is slow."""
    scaled = value if factor == 1 else -value if factor == -1 else factor * value
    return total + scaled if total else scaled


def compare(expr: Expr, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Atom:
    """A comparison of two linear terms as a limit of one input or a row over the outputs.

    Strict comparisons are read as their closure: a tie counts as a violation.
    Raises ``InvalidFile`` for an expression that is no such comparison, ``Unsupported`` for one that mixes
    several inputs, or inputs with outputs.
    """
    if isinstance(expr, str) or len(expr) != 3 or expr[0] not in _COMPARE:
        raise InvalidFile(f"{show(expr)} is not a comparison of two terms (<=, <, >=, >)")
    sign = str(expr[0])
    left, right = (_term(side, inputs, outputs) for side in expr[1:])
    toward = 1 if sign[0] == "<" else -1
    below = combine([(toward, left), (-toward, right)])
    if not below.terms:
        return Constant(_COMPARE[sign.replace(">", "<")](below.constant, 0))
    try:
        if below.terms.keys() <= outputs.keys():
            return _row(below, expr, outputs)
        if len(below.terms) == 1:
            ((name, factor),) = below.terms.items()
            value = -below.constant if factor == 1 else below.constant / -factor
            return _limit(inputs[name], factor, value)
    except OverflowError as error:
        raise InvalidFile(f"{show(expr)} holds a number beyond float64") from error
    mixed = "inputs with outputs" if below.terms.keys() & outputs.keys() else "several inputs"
    raise Unsupported(
        f"{show(expr)} mixes {mixed}; only bounds on single inputs and rows over outputs are known"
    )


def _limit(index: int, factor: Fraction, value: Fraction) -> Limit:
    """``factor * X <= factor * value``."""
    is_lower = factor < 0
    return Limit(index, is_lower, round_down(value) if is_lower else -round_down(-value))


def _row(below: Linear, expr: Expr, outputs: Mapping[str, int]) -> Row:
    """Scaled by the common denominator where a coefficient such as 0.1 is no float64."""
    if not all(map(_is_float, below.terms.values())):
        scale = math.lcm(*(value.denominator for value in below.terms.values()))
        below = combine([(scale, below)])
        if not all(map(_is_float, below.terms.values())):
            raise Unsupported(f"{show(expr)} has coefficients that no common factor makes exact in float64")
    coefficients = sorted((outputs[name], float(value)) for name, value in below.terms.items())
    return Row(tuple(coefficients), round_down(below.constant))


def _is_float(value: Fraction) -> bool:
    return value.denominator == 1 == abs(value.numerator) or Fraction(float(value)) == value


def round_down(value: Fraction) -> float:
    """The largest float64 that is at most ``value``; raises ``OverflowError`` beyond the range."""
    nearest = float(value)
    return math.nextafter(nearest, -math.inf) if Fraction(nearest) > value else nearest


def _term(expr: Expr, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Linear:
    if isinstance(expr, str):
        if expr in inputs or expr in outputs:
            return Linear({expr: _ONE}, _ZERO)
        return Linear({}, _number(expr))
    if len(expr) < 2 or expr[0] not in ("+", "-", "*"):
        raise Unsupported(f"{show(expr)} is not a linear term; known are +, - and * by constants")
    first, *rest = [_term(part, inputs, outputs) for part in expr[1:]]
    if expr[0] == "*":
        return reduce(lambda a, b: _product(a, b, expr), rest, first)
    if expr[0] == "+":
        return combine((1, part) for part in (first, *rest))
    # One term alone is negated, further ones are subtracted from the first.
    head = 1 if rest else -1
    return combine([(head, first), *((-1, part) for part in rest)])


def _product(a: Linear, b: Linear, expr: Expr) -> Linear:
    if a.terms and b.terms:
        raise Unsupported(f"{show(expr)} multiplies variables; only linear terms are known")
    return combine([(a.constant, b) if b.terms else (b.constant, a)])


def _number(word: str) -> Fraction:
    if len(word) > _MAX_DIGITS or not _NUMBER.fullmatch(word):
        raise InvalidFile(f"{show(word)} is neither a declared variable nor a number")
    return Fraction(word)
