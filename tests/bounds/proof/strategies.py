"""Well-formed proofs of anything, for tests of the file format."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bounds.proof import Clause, Part, Proof, Statement, Witness
from bounds.proof.basics import Array
from bounds.proof.format import HIDDEN, Lemma, Tree

Random = np.random.Generator


def random_shape(rng: Random, splits: int) -> Array:
    """The nodes of a random tree in pre-order."""
    if splits == 0:
        return np.array([False])
    left = int(rng.integers(splits))
    return np.concatenate([[True], random_shape(rng, left), random_shape(rng, splits - 1 - left)])


def path_steps(shape: Array) -> int:
    """The depths of all leaves, summed: every split is on the way of the leaves below it."""
    if not shape[0]:
        return 0
    depth, total = [0], 0
    for is_split in shape.tolist():
        here = depth.pop()
        if is_split:
            depth += [here + 1, here + 1]
        else:
            total += here
    return total


def random_tree(rng: Random, part: int, clauses: list[int], alternatives: int, steps: list[int]) -> Tree:
    """A tree of any values; steps: the sizes of the input and of each nonlinear step."""
    splits = int(rng.integers(6))
    shape = random_shape(rng, splits)
    layer = rng.integers(len(steps), size=splits).astype(np.int32)
    element = np.array([rng.integers(steps[k]) for k in layer], np.int32)
    sets, leaves = int(rng.integers(3)), splits + 1
    return Tree(
        part,
        np.array(clauses, np.int32),
        HIDDEN[int(rng.integers(3))],
        rng.random((leaves, alternatives)).astype(np.float32),
        splits=shape,
        layer=layer,
        element=element,
        at=rng.normal(size=splits),
        multipliers=rng.random((path_steps(shape), len(clauses))).astype(np.float32),
        slopes=rng.integers(256, size=(sets, sum(steps[1:]))).astype(np.uint8),
        chosen=rng.integers(sets + 1, size=(leaves, len(clauses))).astype(np.int32),
    )


def random_lemma(rng: Random, part: int, of: int, steps: list[int], before: list[int]) -> Lemma:
    """A lemma of any values about some ends of a layer; before: the layers that it may split."""
    every = np.flatnonzero(rng.random(2 * steps[of]) < 0.7)
    order = every if len(every) else np.array([0])
    shapes = [random_shape(rng, int(rng.integers(4))) for _ in order]
    splits, path = sum(int(shape.sum()) for shape in shapes), sum(map(path_steps, shapes))
    layer = rng.choice(before, splits).astype(np.int32)
    sets, leaves = int(rng.integers(3)), splits + len(order)
    return Lemma(
        part,
        of,
        (order // 2).astype(np.int32),
        (1 - 2 * (order % 2)).astype(np.int8),
        splits=np.concatenate(shapes),
        layer=layer,
        element=np.array([rng.integers(steps[k]) for k in layer], np.int32),
        at=rng.normal(size=splits) * (rng.random(splits) < 0.5),
        multipliers=(rng.random((path, 1)) * (rng.random((path, 1)) < 0.5)).astype(np.float32),
        slopes=rng.integers(256, size=(sets, sum(steps[1:]))).astype(np.uint8),
        chosen=rng.integers(sets + 1, size=(leaves, 1)).astype(np.int32),
    )


def random_proof(rng: Random) -> Proof:
    """A proof of some statement about a network with 3 inputs, 2 outputs and layers of 4 and 5."""
    parts = []
    for _ in range(int(rng.integers(1, 3))):
        middle, radius = rng.normal(size=3), rng.random(3)
        clauses = [
            Clause(rng.normal(size=(n, 2)), rng.normal(size=n))
            for n in rng.integers(1, 4, rng.integers(1, 4))
        ]
        parts.append(Part(middle - radius, middle + radius, tuple(clauses)))
    statement = Statement("0123456789abcdef" * 4, ["real", "deployed"][int(rng.integers(2))], tuple(parts))
    if rng.random() < 0.2:
        return Proof(statement, witness=Witness(len(parts) - 1, rng.normal(size=3)))
    trees, sizes = [], [3, 4, 5]
    places = [(p, of) for p in range(len(parts)) for of in (1, 2) if rng.random() < 0.5]
    lemmas = [random_lemma(rng, p, of, sizes, list(range(of))) for p, of in places]
    for p, part in enumerate(parts):
        cut = int(rng.integers(1, len(part.clauses) + 1))
        every = list(range(len(part.clauses)))
        for group in (every[:cut], every[cut:]):
            if group:
                alternatives = sum(len(part.clauses[c].rows) for c in group)
                tree = random_tree(rng, p, group, alternatives, sizes)
                rows = rng.random(int(rng.integers(12)) * (tree.hidden == "root")) < 0.5
                trees.append(replace(tree, rows=rows))
    return Proof(statement, tuple(trees), lemmas=tuple(lemmas))
