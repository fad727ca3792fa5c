"""Leaves in any order become the tree that they come from, or none."""

import numpy as np
import pytest

from bounds.proof.basics import Array
from bounds.proving.leaves import Leaf, tree

from ..proof.strategies import random_shape

SIZES = (4, 5)


def grown(rng: np.random.Generator, splits: int) -> tuple[Array, list[Leaf]]:
    """A random tree in pre-order and its leaves, from left to right, each with codes of its own."""
    shape = random_shape(rng, splits)
    ways: list[list[tuple[int, int, float, int]]] = [[]]
    leaves = []
    for is_split in shape.tolist():
        way = ways.pop()
        if is_split:
            place = (int(rng.integers(3)), int(rng.integers(4)), float(rng.normal()))
            ways += [[*way, (*place, -1)], [*way, (*place, 1)]]
            continue
        layer, element, at, side = (np.array([step[k] for step in way]) for k in range(4))
        weights = np.array([1.0, float(len(leaves))], np.float32)
        multipliers = rng.random((len(way), 1)).astype(np.float32)
        codes = np.full((1, sum(SIZES)), len(leaves) % 3, np.uint8)
        leaves.append(Leaf(layer, element, at, side, weights, multipliers, codes))
    return shape, leaves


@pytest.mark.parametrize("seed", range(20))
def test_the_tree_is_found_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, leaves = grown(rng, int(rng.integers(12)))
    mixed = [leaves[k] for k in rng.permutation(len(leaves))]
    found = tree(0, [0], "root", mixed, SIZES)
    assert found.splits.tolist() == shape.tolist()
    assert found.weights[:, 1].tolist() == list(range(len(leaves)))
    assert np.array_equal(found.multipliers, np.concatenate([leaf.multipliers for leaf in leaves]))
    assert found.paths[2].tolist() == [side for leaf in leaves for side in leaf.side.tolist()]
    assert len(found.slopes) == min(2, len({k % 3 for k in range(len(leaves))} - {0}))
    for leaf, number in zip(leaves, found.chosen[:, 0].tolist(), strict=True):
        assert leaf.codes is not None
        codes = found.slopes[number - 1] if number else np.zeros(sum(SIZES))
        assert np.array_equal(codes, leaf.codes[0])


@pytest.mark.parametrize("seed", range(10))
def test_leaves_that_do_not_cover_are_no_tree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, leaves = grown(rng, int(rng.integers(1, 8)))
    gone = int(rng.integers(len(leaves)))
    with pytest.raises(ValueError, match="leaves are missing"):
        tree(0, [0], "root", leaves[:gone] + leaves[gone + 1 :], SIZES)
    with pytest.raises(ValueError, match="leaves are missing"):
        tree(0, [0], "root", [*leaves, leaves[gone]], SIZES)
