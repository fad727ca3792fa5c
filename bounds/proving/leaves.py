"""Leaves of a search as values, and the trees and lemmas that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bounds.proof.basics import Array
from bounds.proof.format import Lemma, Tree


@dataclass(frozen=True, eq=False)
class Leaf:
    """A piece of a box on which some clauses are proved, or a neuron is bounded, which counts as one clause.

    layer, element, at, side: (depth,) the way to it, see ``Tree``. weights: (alternatives of all clauses,).
    multipliers: (depth, clauses). codes: (clauses, elements of all functions) uint8, None for the checker's
    own slopes.
    """

    layer: Array
    element: Array
    at: Array
    side: Array
    weights: Array
    multipliers: Array
    codes: Array | None

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        codes = 0 if self.codes is None else self.codes.nbytes
        return codes + self.weights.nbytes + self.multipliers.nbytes + 24 * len(self.layer)


def tree(
    part: int,
    clauses: Sequence[int],
    hidden: str,
    leaves: Sequence[Leaf],
    sizes: Sequence[int],
    rows: Array | None = None,
) -> Tree:
    """The tree of leaves that cover a box between them; sizes: of the network's nonlinear steps. rows: for
    neurons at the root; None for all.

    Raises ``ValueError`` where leaves are missing.
    """
    arrays, ordered = _forest([leaves], len(clauses), sizes)
    weights = np.stack([leaf.weights for leaf in ordered]).astype(np.float32)
    arrays["rows"] = np.zeros(0, np.bool_) if rows is None else rows
    return Tree(part=part, clauses=np.array(clauses, np.int32), hidden=hidden, weights=weights, **arrays)


def lemma(part: int, of: int, ends: Mapping[tuple[int, int], Sequence[Leaf]], sizes: Sequence[int]) -> Lemma:
    """The lemma of the leaves that cover a box for each end: (element, 0 or, for the upper one, 1).

    Raises ``ValueError`` where leaves are missing.
    """
    order = sorted(ends)
    arrays, _ = _forest([ends[end] for end in order], 1, sizes)
    elements, upper = np.array(order).T
    sides = (1 - 2 * upper).astype(np.int8)
    return Lemma(part=part, of=of, ends=elements.astype(np.int32), sides=sides, **arrays)


def _forest(
    trees: Sequence[Sequence[Leaf]], clauses: int, sizes: Sequence[int]
) -> tuple[dict[str, Array], list[Leaf]]:
    """The arrays that trees and lemmas share, and the leaves in their order."""
    splits, places, ordered = list[bool](), list[tuple[int, int, float]](), list[Leaf]()
    for leaves in trees:
        mine, cut, order = _walked(leaves)
        splits += mine
        places += cut
        ordered += [leaves[k] for k in order]
    codes, chosen = _sets(ordered, clauses, sum(sizes))
    layer, element, at = (np.array([place[k] for place in places]) for k in range(3))
    arrays = {
        "splits": np.array(splits, np.bool_),
        "layer": layer.astype(np.int32),
        "element": element.astype(np.int32),
        "at": at.astype(np.float64),
        "multipliers": np.concatenate([leaf.multipliers for leaf in ordered]).astype(np.float32),
        "slopes": codes,
        "chosen": chosen,
    }
    return arrays, ordered


def _walked(leaves: Sequence[Leaf]) -> tuple[list[bool], list[tuple[int, int, float]], list[int]]:
    """In pre-order: which nodes are splits, where these are, and the leaves."""
    splits: list[bool] = []
    places: list[tuple[int, int, float]] = []
    order: list[int] = []
    stack = [(0, list(range(len(leaves))))]
    while stack:
        depth, group = stack.pop()
        if len(group) == 1 and len(leaves[group[0]].layer) == depth:
            splits.append(False)
            order.append(group[0])
            continue
        found = {_place(leaves[k], depth) for k in group}
        sides = [[k for k in group if leaves[k].side[depth] == side] for side in (1, -1)]
        if len(found) != 1 or not all(sides):
            raise ValueError("leaves are missing or do not belong to one tree")
        splits.append(True)
        places.append(found.pop())
        stack += [(depth + 1, sides[1]), (depth + 1, sides[0])]
    return splits, places, order


def _place(leaf: Leaf, depth: int) -> tuple[int, int, float]:
    if len(leaf.layer) <= depth:
        raise ValueError("leaves are missing or do not belong to one tree")
    return int(leaf.layer[depth]), int(leaf.element[depth]), float(leaf.at[depth])


def _sets(leaves: Sequence[Leaf], clauses: int, elements: int) -> tuple[Array, Array]:
    """All different sets of slope codes, and which of them each leaf and clause has; from 1, 0 for none."""
    numbers: dict[bytes, int] = {}
    sets: list[Array] = []
    chosen = np.zeros((len(leaves), clauses), np.int32)
    for k, leaf in enumerate(leaves):
        for c, row in enumerate([] if leaf.codes is None else leaf.codes[:clauses]):
            if row.any():
                number = numbers.setdefault(row.tobytes(), len(sets) + 1)
                if number > len(sets):
                    sets.append(row)
                chosen[k, c] = number
    return (np.stack(sets) if sets else np.zeros((0, elements), np.uint8)), chosen
