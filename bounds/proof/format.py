"""What a proof says and holds, as values; every value is checked when it is made.

A statement is about one network: for every x in the box of each part, every clause has an alternative with
``rows @ y + offset > 0``. Trees prove it, or a witness refutes it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from re import fullmatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bounds.proof.refused import Refused

Array = NDArray[Any]
LEVELS = ("real", "deployed")
HIDDEN = ("none", "root", "leaf")
MOST_DEPTH = 4096
MOST_ALTERNATIVES = 2**16  # of all clauses of a part
# The sizes that a tree states, and its arrays in the order of the file: their types and shapes.
SIZES = ("alternatives", "clauses", "path", "sets", "slopes", "splits")
ARRAYS = {
    "clauses": ("<i4", "clauses"),
    "splits": ("?", "nodes"),
    "layer": ("<i4", "splits"),
    "element": ("<i4", "splits"),
    "at": ("<f8", "splits"),
    "weights": ("<f4", "leaves alternatives"),
    "multipliers": ("<f4", "path clauses"),
    "slopes": ("u1", "sets slopes"),
    "chosen": ("<i4", "leaves clauses"),
}


def shapes(sizes: Mapping[str, int]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The type and shape of each array of a tree with some sizes."""
    every = {**sizes, "nodes": 2 * sizes["splits"] + 1, "leaves": sizes["splits"] + 1}
    return {
        name: (kind, tuple(every[size] for size in shape.split())) for name, (kind, shape) in ARRAYS.items()
    }


@dataclass(frozen=True, eq=False)
class Clause:
    """Alternatives of which one at least must be > 0: ``rows @ y + offset``.

    rows: (alternatives, outputs) float64. offset: (alternatives,) float64.
    """

    rows: Array
    offset: Array

    def __post_init__(self) -> None:
        alternatives = len(self.rows)
        _check("clause", "rows", self.rows, "<f8", (alternatives, self.rows.shape[-1]))
        _check("clause", "offset", self.offset, "<f8", (alternatives,))
        if alternatives == 0:
            raise Refused("clause", "it has no alternatives")


@dataclass(frozen=True, eq=False)
class Part:
    """A box over the network's flattened input and the clauses that hold in it.

    lower, upper: (inputs,) float64, lower <= upper.
    """

    lower: Array
    upper: Array
    clauses: tuple[Clause, ...]

    def __post_init__(self) -> None:
        size = (self.lower.size,)
        _check("part", "lower", self.lower, "<f8", size)
        _check("part", "upper", self.upper, "<f8", size)
        if not bool((self.lower <= self.upper).all()):
            raise Refused("part", "the box has a lower end above its upper end")
        if sum(len(c.rows) for c in self.clauses) > MOST_ALTERNATIVES:
            raise Refused("part", f"it has more than {MOST_ALTERNATIVES} alternatives")
        if not self.clauses or len({c.rows.shape[1] for c in self.clauses}) != 1:
            raise Refused("part", "it needs clauses, all over the same outputs")


@dataclass(frozen=True, eq=False)
class Statement:
    """What is claimed.

    model: SHA-256 of the ONNX file's bytes (unpacked, where it is gzipped), hexadecimal.
    level: "real", of the network in exact arithmetic, or "deployed", of every float32 execution.
    """

    model: str
    level: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not fullmatch("[0-9a-f]{64}", self.model):
            raise Refused("statement", "the model is not named by a SHA-256 digest")
        if self.level not in LEVELS:
            raise Refused("statement", f"unknown level {self.level!r}")
        sizes = {(part.lower.size, part.clauses[0].rows.shape[1]) for part in self.parts}
        if len(sizes) != 1:
            raise Refused("statement", "it needs parts, all over the same inputs and outputs")


@dataclass(frozen=True, eq=False)
class Tree:
    """Splits that take a part's box to pieces, and what proves some of its clauses on every piece.

    part: index. clauses: (clauses,) int32, their indices within the part.
    hidden: whether rows bound hidden layers once, at the "root", or anew in each "leaf", or intervals alone
        do, "none".
    splits: (nodes,) bool in pre-order: a split, followed by the subtree with z >= at, then that with z <= at;
        or a leaf.
    layer, element: (splits,) int32, which z: layer 0 is the input, layer k the input of the k-th nonlinear
        step. at: (splits,) float64.
    weights: (leaves, alternatives of all clauses in order) float32 >= 0, the mixture that is bounded.
    multipliers: (path steps of all leaves, clauses) float32 >= 0, of the splits from the root to each leaf.
    slopes: (sets, elements of all nonlinear steps) uint8; 0 asks for the checker's own slope.
    chosen: (leaves, clauses) int32, the set that each leaf uses; 0 for none, k for the k-th.
    """

    part: int
    clauses: Array
    hidden: str
    splits: Array
    layer: Array
    element: Array
    at: Array
    weights: Array
    multipliers: Array
    slopes: Array
    chosen: Array

    def __post_init__(self) -> None:
        if self.hidden not in HIDDEN:
            raise Refused("tree", f"unknown way {self.hidden!r} to bound hidden layers")
        if self.clauses.size == 0:
            raise Refused("tree", "it proves no clause")
        for name, (kind, shape) in shapes(self.sizes).items():
            _check("tree", name, getattr(self, name), kind, shape)
        for name in ("clauses", "layer", "element", "weights", "multipliers", "chosen"):
            if bool((getattr(self, name) < 0).any()):
                raise Refused("tree", f"{name} has a negative number")
        if bool((np.diff(self.clauses) <= 0).any()):
            raise Refused("tree", "clauses are not in increasing order")
        if bool((self.chosen > len(self.slopes)).any()):
            raise Refused("tree", "chosen asks for a set of slopes that is not there")

    @cached_property
    def paths(self) -> tuple[Array, Array, Array]:
        """Of all path steps, leaf by leaf: leaf, split, and side: +1 for z >= at, -1 for z <= at."""
        leaf, turns = array("i"), array("i")
        # The ways to nodes that are still to come, the next one last: splits from 1 on, negative for z <= at.
        ways, leaves, splits = [array("i")], 0, 0
        for is_split in self.splits.tolist():
            if not ways:
                raise Refused("tree", "there are nodes behind the last leaf")
            way = ways.pop()
            if is_split:
                if len(way) == MOST_DEPTH:
                    raise Refused("tree", f"it is deeper than {MOST_DEPTH} splits")
                splits += 1
                ways += [way + array("i", [turn]) for turn in (-splits, splits)]
                continue
            if len(turns) + len(way) > len(self.multipliers):
                raise Refused("tree", "there are not as many multipliers as steps of paths")
            leaf.extend([leaves] * len(way))
            turns.extend(way)
            leaves += 1
        if ways:
            raise Refused("tree", "a leaf is missing")
        steps = np.array(turns, np.int32)
        return np.array(leaf, np.int32), np.abs(steps) - 1, np.sign(steps)

    @property
    def sizes(self) -> dict[str, int]:
        """What its arrays' shapes follow from."""
        (_, alternatives), (sets, slopes) = self.weights.shape, self.slopes.shape
        path, clauses, splits = (len(x) for x in (self.paths[0], self.clauses, self.layer))
        return dict(zip(SIZES, (alternatives, clauses, path, sets, slopes, splits), strict=True))


@dataclass(frozen=True, eq=False)
class Witness:
    """A point of a part's box, flat, at which some clause is not positive. point: (inputs,) float64."""

    part: int
    point: Array

    def __post_init__(self) -> None:
        _check("witness", "point", self.point, "<f8", (self.point.size,))


@dataclass(frozen=True, eq=False)
class Proof:
    """A statement with trees that prove it or, without trees, a witness that refutes it."""

    statement: Statement
    trees: tuple[Tree, ...] = ()
    witness: Witness | None = None

    def __post_init__(self) -> None:
        if bool(self.trees) == (self.witness is not None):
            raise Refused("proof", "it needs either trees or a witness")
        if self.witness is not None:
            if self.witness.point.shape != self._part(self.witness.part, "witness").lower.shape:
                raise Refused("witness", "it has another size than the box")
            return
        for number, tree in enumerate(self.trees):
            place = f"tree {number}"
            clauses = self._part(tree.part, place).clauses
            if int(tree.clauses[-1]) >= len(clauses):
                raise Refused(place, f"part {tree.part} has no clause {int(tree.clauses[-1])}")
            if tree.weights.shape[1] != sum(len(clauses[c].rows) for c in tree.clauses):
                raise Refused(place, "weights do not have one column for each alternative")
        proved = {(tree.part, int(c)) for tree in self.trees for c in tree.clauses}
        every = {(k, c) for k, p in enumerate(self.statement.parts) for c in range(len(p.clauses))}
        if every - proved:
            part, clause = min(every - proved)
            raise Refused("proof", f"no tree proves clause {clause} of part {part}")

    def _part(self, index: int, place: str) -> Part:
        if type(index) is not int or not 0 <= index < len(self.statement.parts):
            raise Refused(place, f"there is no part {index}")
        return self.statement.parts[index]


def _check(place: str, name: str, value: Array, kind: str, shape: tuple[int, ...]) -> None:
    """Refuse an array of another type or shape, or with NaN or Inf."""
    if value.dtype != np.dtype(kind) or value.shape != shape:
        wanted = f"{np.dtype(kind).name} of shape {shape}"
        raise Refused(place, f"{name} is {value.dtype} of shape {value.shape}, not {wanted}")
    if not bool(np.isfinite(value).all()):
        raise Refused(place, f"{name} has NaN or Inf")
