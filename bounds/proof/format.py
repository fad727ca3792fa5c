"""What a proof says and holds, as values; every value is checked when it is made.

A statement is about one network: for every x in the box of each part, every clause has an alternative with
``rows @ y + offset > 0``. Trees prove it, by intervals of neurons that lemmas make tighter, or a witness
refutes it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from re import fullmatch

import numpy as np

from bounds.proof.basics import Array, Refused, refuse

LEVELS = ("real", "deployed")
HIDDEN = ("none", "root", "leaf")
MOST_DEPTH = 4096
MOST_ALTERNATIVES = 2**16  # of all clauses of a part
# The arrays of a tree and of a lemma, where it has them, in the order of the file: their types and shapes.
ARRAYS = {
    "ends": ("<i4", "ends"),
    "sides": ("i1", "ends"),
    "clauses": ("<i4", "clauses"),
    "rows": ("?", "rows"),
    "splits": ("?", "nodes"),
    "layer": ("<i4", "splits"),
    "element": ("<i4", "splits"),
    "at": ("<f8", "splits"),
    "weights": ("<f4", "leaves alternatives"),
    "multipliers": ("<f4", "path clauses"),
    "slopes": ("u1", "sets slopes"),
    "chosen": ("<i4", "leaves clauses"),
}


def shapes(of: type[Forest], sizes: Mapping[str, int]) -> list[tuple[str, str, tuple[int, ...]]]:
    """The name, type and shape of each array of a tree or a lemma with some sizes."""
    splits, trees, names = sizes["splits"], sizes.get("ends", 1), {field.name for field in fields(of)}
    every = {"clauses": 1, **sizes, "nodes": 2 * splits + trees, "leaves": splits + trees}
    mine = [(name, *array) for name, array in ARRAYS.items() if name in names]
    return [(name, kind, tuple(every[size] for size in shape.split())) for name, kind, shape in mine]


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
        refuse(alternatives == 0, "clause", "it has no alternatives")


@dataclass(frozen=True, eq=False)
class Part:
    """A box over the network's flattened input and the clauses that hold in it.

    lower, upper: (inputs,) float64, lower <= upper.
    """

    lower: Array
    upper: Array
    clauses: tuple[Clause, ...]

    def __post_init__(self) -> None:
        for name, end in (("lower", self.lower), ("upper", self.upper)):
            _check("part", name, end, "<f8", (self.lower.size,))
        refuse(not (self.lower <= self.upper).all(), "part", "the box has a lower end above its upper end")
        alternatives = sum(len(c.rows) for c in self.clauses)
        refuse(alternatives > MOST_ALTERNATIVES, "part", f"it has more than {MOST_ALTERNATIVES} alternatives")
        outputs = {c.rows.shape[1] for c in self.clauses}
        refuse(len(outputs) != 1, "part", "it needs clauses, all over the same outputs")


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
        named = isinstance(self.model, str) and fullmatch("[0-9a-f]{64}", self.model)
        refuse(not named, "statement", "the model is not named by a SHA-256 digest")
        refuse(self.level not in LEVELS, "statement", f"unknown level {self.level!r}")
        sizes = {(part.lower.size, part.clauses[0].rows.shape[1]) for part in self.parts}
        refuse(len(sizes) != 1, "statement", "it needs parts, all over the same inputs and outputs")


@dataclass(frozen=True, eq=False, kw_only=True)
class Forest:
    """Trees of splits, one behind the other, that each take a part's box to pieces.

    trees: how many. splits: (nodes,) bool in pre-order: a split, followed by the subtree with z >= at, then
        that with z <= at; or a leaf.
    layer, element: (splits,) int32, which z: layer 0 is the input, layer k the input of the k-th nonlinear
        step. at: (splits,) float64.
    multipliers: (path steps of all leaves, clauses) float32 >= 0, of the splits from the root to each leaf.
    slopes: (sets, elements of all nonlinear steps) uint8; 0 asks for the checker's own slope.
    chosen: (leaves, clauses) int32, the set that each leaf uses; 0 for none, k for the k-th.
    """

    splits: Array
    layer: Array
    element: Array
    at: Array
    multipliers: Array
    slopes: Array
    chosen: Array

    @property
    def trees(self) -> int:
        return 1

    def _checked(self, place: str) -> None:
        """Refuse arrays that do not fit together."""
        for name, kind, shape in shapes(type(self), self.sizes):
            array, signed = getattr(self, name), name in ("at", "sides")
            _check(place, name, array, kind, shape)
            refuse(not signed and (array < 0).any(), place, f"{name} has a negative number")
        missing = (self.chosen > len(self.slopes)).any()
        refuse(missing, place, "chosen asks for a set of slopes that is not there")

    @cached_property
    def paths(self) -> tuple[Array, Array, Array]:
        """Of all path steps, leaf by leaf: leaf, split, and side: +1 for z >= at, -1 for z <= at."""
        depths, turns = array("i"), array("i")
        # The ways to nodes that are still to come, the next one last: splits from 1 on, negative for z <= at.
        ways, splits = [array("i")] * self.trees, 0
        for is_split in self.splits.tolist():
            refuse(not ways, "tree", "there are nodes behind the last leaf")
            way = ways.pop()
            if is_split:
                refuse(len(way) == MOST_DEPTH, "tree", f"it is deeper than {MOST_DEPTH} splits")
                splits += 1
                ways += [way + array("i", [turn]) for turn in (-splits, splits)]
                continue
            more = len(turns) + len(way) > len(self.multipliers)
            refuse(more, "tree", "there are not as many multipliers as steps of paths")
            depths.append(len(way))
            turns.extend(way)
        refuse(ways, "tree", "a leaf is missing")
        leaf, steps = np.arange(len(depths), dtype=np.int32).repeat(depths), np.array(turns, np.int32)
        return leaf, np.abs(steps) - 1, np.sign(steps)

    @property
    def owners(self) -> Array:
        """The tree of each leaf, (leaves,): a tree is over where it has one leaf more than splits."""
        over = np.cumsum(np.where(self.splits, -1, 1))
        return np.asarray(np.maximum.accumulate(np.append(0, over[:-1]))[~self.splits])

    @property
    def sizes(self) -> dict[str, int]:
        """What its arrays' shapes follow from."""
        path, (sets, slopes) = len(self.paths[0]), self.slopes.shape
        return {"path": path, "sets": sets, "slopes": slopes, "splits": len(self.layer)}


@dataclass(frozen=True, eq=False)
class Tree(Forest):
    """Splits that take a part's box to pieces, and what proves some of its clauses on every piece.

    part: index. clauses: (clauses,) int32, their indices within the part.
    hidden: whether rows bound hidden layers once, at the "root", or anew in each "leaf", or intervals alone
        do, "none".
    rows: (rows,) bool, which of all rows for neurons bound these at the root; all of them if it is empty.
    weights: (leaves, alternatives of all clauses in order) float32 >= 0, the mixture that is bounded.
    """

    part: int
    clauses: Array
    hidden: str
    weights: Array
    rows: Array = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        refuse(self.hidden not in HIDDEN, "tree", f"unknown way {self.hidden!r} to bound hidden layers")
        refuse(self.clauses.size == 0, "tree", "it proves no clause")
        refuse(self.rows.size and self.hidden != "root", "tree", "it picks rows, but not at the root")
        self._checked("tree")
        refuse((np.diff(self.clauses) <= 0).any(), "tree", "clauses are not in increasing order")

    @property
    def sizes(self) -> dict[str, int]:
        mine = {"alternatives": self.weights.shape[1], "clauses": len(self.clauses), "rows": len(self.rows)}
        return {**super().sizes, **mine}


@dataclass(frozen=True, eq=False)
class Lemma(Forest):
    """A tree for each of some ends of neurons' intervals, whose leaves' least bound moves it in a whole box.

    part: index. of: the layer of the neurons, whose number is that of a split's.
    ends, sides: (ends,) int32 and int8, which elements, increasing, and of each the lower end, 1, before the
        upper one, -1: the trees bound ``side * z``.
    There is one clause, and splits lie before the layer.
    """

    part: int
    of: int
    ends: Array
    sides: Array

    def __post_init__(self) -> None:
        refuse(type(self.of) is not int or self.of < 1, "lemma", f"there is no layer {self.of!r}")
        self._checked("lemma")
        order = 2 * self.ends.astype(np.int64) + (self.sides < 0)
        wrong = not self.trees or set(self.sides.tolist()) - {1, -1} or (np.diff(order) <= 0).any()
        refuse(wrong, "lemma", "it has no ends, or not in increasing order")

    @property
    def trees(self) -> int:
        return len(self.ends)

    @property
    def weights(self) -> Array:
        """Of each leaf that of its element, (leaves, 1)."""
        return self.sides[self.owners, None]

    @property
    def sizes(self) -> dict[str, int]:
        return {**super().sizes, "ends": len(self.ends)}


@dataclass(frozen=True, eq=False)
class Witness:
    """A point of a part's box, flat, at which some clause is not positive. point: (inputs,) float64."""

    part: int
    point: Array

    def __post_init__(self) -> None:
        _check("witness", "point", self.point, "<f8", (self.point.size,))


@dataclass(frozen=True, eq=False)
class Proof:
    """A statement with trees that prove it or, without trees, a witness that refutes it.

    lemmas: of growing parts and, of a part, layers; trees with rows at the root build on all of their part.
    """

    statement: Statement
    trees: tuple[Tree, ...] = ()
    witness: Witness | None = None
    lemmas: tuple[Lemma, ...] = ()

    def __post_init__(self) -> None:
        refuse(bool(self.trees) == (self.witness is not None), "proof", "it needs either trees or a witness")
        for lemma in self.lemmas:
            self._part(lemma.part, "lemma")
        places = [(lemma.part, lemma.of) for lemma in self.lemmas]
        wrong = places != sorted(set(places)) or (places and not self.trees)
        refuse(wrong, "proof", "its lemmas are not in increasing order, or without trees")
        if self.witness is not None:
            size = self._part(self.witness.part, "witness").lower.size
            refuse(self.witness.point.size != size, "witness", "it has another size than the box")
            return
        for number, tree in enumerate(self.trees):
            place, last = f"tree {number}", int(tree.clauses[-1])
            clauses = self._part(tree.part, place).clauses
            refuse(last >= len(clauses), place, f"part {tree.part} has no clause {last}")
            wrong = tree.weights.shape[1] != sum(len(clauses[c].rows) for c in tree.clauses)
            refuse(wrong, place, "weights do not have one column for each alternative")
        proved = {(tree.part, int(c)) for tree in self.trees for c in tree.clauses}
        every = {(k, c) for k, p in enumerate(self.statement.parts) for c in range(len(p.clauses))}
        if left := every - proved:
            raise Refused("proof", "no tree proves clause {1} of part {0}".format(*min(left)))

    def _part(self, index: int, place: str) -> Part:
        there = type(index) is int and 0 <= index < len(self.statement.parts)
        refuse(not there, place, f"there is no part {index}")
        return self.statement.parts[index]


def _check(place: str, name: str, value: Array, kind: str, shape: tuple[int, ...]) -> None:
    """Refuse an array of another type or shape, or with NaN or Inf."""
    found, wanted = (value.dtype, value.shape), (np.dtype(kind), shape)
    if found != wanted:
        raise Refused(place, "{} is {} of shape {}, not {} of shape {}".format(name, *found, *wanted))
    refuse(not np.isfinite(value).all(), place, f"{name} has NaN or Inf")
