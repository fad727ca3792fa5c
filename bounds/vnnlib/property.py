"""VNN-LIB files as regions and specifications.

A file asserts the *unsafe* set: inputs and outputs that must not occur together. In disjunctive normal
form every disjunct is a box of inputs and a conjunction of linear rows over the outputs. Disjuncts that
share a box become one sample whose clauses deny them one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bounds.errors import BoundsError, EmptyProperty, InvalidFile, Unsupported
from bounds.sets import Box
from bounds.spec import Spec
from bounds.vnnlib.linear import Atom, Limit, Row, compare
from bounds.vnnlib.second import is_second, translated
from bounds.vnnlib.syntax import Expr, expressions, line_of, read_text, show

MAX_ATOMS = 2**23
MAX_CELLS = 2**27
_NAME = re.compile(r"([XY])_(0|[1-9]\d{0,8})")
# Every output is unsafe: the row 0 . Y - 1 <= 0.
_ALWAYS = Row((), -1.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class And:
    """All parts hold."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """At least one part holds."""

    parts: tuple[Formula, ...]


Formula = And | Or | Atom
Conjunction = tuple[Atom, ...]


def read_vnnlib(path: str | os.PathLike[str]) -> tuple[Box, Spec]:
    """The region and the specification of a VNN-LIB file, version 1.0 or 2.0, plain or gzip-compressed.

    Returns a float64 ``Box`` of flat inputs, (boxes, inputs), and a ``Spec`` with one entry per box. The
    property holds if on every box every clause has a row > 0; a point of a box where ``spec.worst`` is
    <= 0 is a counterexample. Boxes and offsets are rounded from the decimals of the file so that the
    property only gets harder, by at most one float64 ulp; strict comparisons are read as their closure.

    Raises ``InvalidFile`` for what is no such file or misses a bound of an input; ``EmptyProperty`` for
    constraints that no input satisfies, so that the property holds of every network; ``Unsupported`` for
    constraints that mix inputs, terms that are not linear, and formulas whose normal form is too large.
    """
    path = Path(path)
    text = read_text(path)
    try:
        return _Reader(text).read()
    except BoundsError as error:
        raise type(error)(f"{path}: {error}") from error


@dataclass
class _Reader:
    """Declarations and assertions in the order of the file."""

    text: str
    variables: dict[str, dict[str, int]] = field(default_factory=lambda: {"X": {}, "Y": {}})
    asserted: list[Formula] = field(default_factory=list)
    atoms: dict[Expr, Atom] = field(default_factory=dict)

    def read(self) -> tuple[Box, Spec]:
        if is_second(self.text):
            for expr in translated(self.text):
                self._command(expr)
        else:
            self._read_first()
        for kind, names in self.variables.items():
            if not names or max(names.values()) != len(names) - 1:
                raise InvalidFile(f"variables {kind}_0, {kind}_1, ... must be declared, without gaps")
        sizes = len(self.variables["X"]), len(self.variables["Y"])
        return _assemble(_join(self.asserted, And), *sizes)

    def _read_first(self) -> None:
        for start, expr in expressions(self.text):
            try:
                self._command(expr)
            except BoundsError as error:
                raise type(error)(f"line {line_of(self.text, start)}: {error}") from error

    def _command(self, expr: Expr) -> None:
        match expr:
            case ("declare-const", str(name), "Real"):
                self._declare(name)
            case ("assert", body):
                self.asserted.append(self._formula(body))
            case _:
                raise Unsupported(
                    f"{show(expr)} is not known; VNN-LIB 1.0 has (declare-const X_0 Real) and (assert ...)"
                )

    def _declare(self, name: str) -> None:
        match = _NAME.fullmatch(name)
        if not match:
            raise Unsupported(f"variable {name} is neither X_<i> nor Y_<i>")
        names = self.variables[match[1]]
        if name in names:
            raise InvalidFile(f"{name} is declared twice")
        names[name] = int(match[2])

    def _formula(self, expr: Expr) -> Formula:
        if isinstance(expr, tuple) and len(expr) > 1 and expr[0] in ("and", "or"):
            return _join([self._formula(part) for part in expr[1:]], And if expr[0] == "and" else Or)
        atom = self.atoms.get(expr)
        if atom is None:
            atom = self.atoms[expr] = compare(expr, self.variables["X"], self.variables["Y"])
        return atom


def _join(parts: Iterable[Formula], kind: type[And] | type[Or]) -> Formula:
    """The parts joined, nested ones of the same kind spliced in."""
    flat: list[Formula] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else (part,))
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def _disjuncts(formula: Formula) -> list[Conjunction]:
    """The disjunctive normal form."""
    if isinstance(formula, Or):
        return [conjunction for part in formula.parts for conjunction in _disjuncts(part)]
    if not isinstance(formula, And):
        return [(formula,)]
    result = [tuple(part for part in formula.parts if not isinstance(part, And | Or))]
    for part in formula.parts:
        if isinstance(part, And | Or):
            result = _product(result, _disjuncts(part))
    return result


def _product(left: list[Conjunction], right: list[Conjunction]) -> list[Conjunction]:
    atoms = len(right) * (1 + sum(map(len, left))) + len(left) * (1 + sum(map(len, right)))
    if atoms > MAX_ATOMS:
        raise Unsupported(f"the disjunctive normal form has more than {MAX_ATOMS} atoms; split the property")
    return [before + after for before in left for after in right]


@dataclass(frozen=True)
class _Piece:
    """A box (lower over upper, (2, inputs)) and the rows that together are unsafe on it; None if empty."""

    limits: Floats
    rows: tuple[Row, ...]

    def meet(self, conjunction: Iterable[Atom]) -> _Piece | None:
        """The piece with further constraints; None where nothing is left."""
        limits, rows = self.limits, list(self.rows)
        bounds: list[Limit] = []
        for atom in conjunction:
            if isinstance(atom, Limit):
                bounds.append(atom)
            elif isinstance(atom, Row):
                rows.append(atom)
            elif not atom.holds:
                return None
        if bounds:
            limits = limits.copy()
            _tighten(limits, bounds)
            if (limits[0] > limits[1]).any():
                return None
        return _Piece(limits, tuple(rows))


def _tighten(limits: Floats, bounds: list[Limit]) -> None:
    lower, upper = limits.tolist()
    for bound in bounds:
        if bound.is_lower:
            lower[bound.index] = max(lower[bound.index], bound.value)
        else:
            upper[bound.index] = min(upper[bound.index], bound.value)
    limits[:] = lower, upper


def _assemble(formula: Formula, inputs: int, outputs: int) -> tuple[Box, Spec]:
    """One sample per box; constraints common to all disjuncts are applied once."""
    parts = formula.parts if isinstance(formula, And) else (formula,)
    common = [part for part in parts if not isinstance(part, And | Or)]
    everything = _Piece(np.repeat([[-np.inf], [np.inf]], inputs, axis=1), ())
    base = everything.meet(common)
    varying = And(tuple(part for part in parts if isinstance(part, And | Or)))
    samples: dict[bytes, tuple[Floats, list[tuple[Row, ...]]]] = {}
    for conjunction in _disjuncts(varying) if base else ():
        piece = base.meet(conjunction) if base else None
        if piece:
            _check_bounded(piece.limits)
            _, clauses = samples.setdefault(piece.limits.tobytes(), (piece.limits, []))
            clauses.append(piece.rows or (_ALWAYS,))
    if not samples:
        raise EmptyProperty(
            "no input satisfies the constraints, so the property holds of every network; "
            "check the bounds of the inputs"
        )
    lower, upper = torch.from_numpy(np.stack([limits for limits, _ in samples.values()], axis=1))
    return Box(lower, upper), _spec([clauses for _, clauses in samples.values()], outputs)


def _check_bounded(limits: Floats) -> None:
    if not np.isfinite(limits).all():
        side, index = np.argwhere(~np.isfinite(limits))[0]
        raise InvalidFile(f"X_{index} has no {('lower', 'upper')[side]} bound; every input needs both")


def _spec(samples: list[list[tuple[Row, ...]]], outputs: int) -> Spec:
    """Clauses as tensors; a sample with fewer rows than another repeats its first."""
    width = max(sum(map(len, clauses)) for clauses in samples)
    if prod((len(samples), width, outputs)) > MAX_CELLS:
        raise Unsupported(
            f"{len(samples)} boxes with {width} rows over {outputs} outputs need too much memory; "
            "split the property"
        )
    matrix = np.zeros((len(samples), width, outputs))
    offset = np.zeros((len(samples), width))
    clause = np.zeros((len(samples), width), dtype=np.int64)
    for sample, clauses in enumerate(samples):
        rows = [(number, row) for number, rows in enumerate(clauses) for row in rows]
        rows += rows[:1] * (width - len(rows))
        for place, (number, row) in enumerate(rows):
            for index, value in row.coefficients:
                matrix[sample, place, index] = value
            offset[sample, place] = row.offset
            clause[sample, place] = number
    single = all(len(rows) == 1 for clauses in samples for rows in clauses)
    numbers = None if single else torch.from_numpy(clause)
    return Spec(torch.from_numpy(matrix), torch.from_numpy(offset), numbers)
