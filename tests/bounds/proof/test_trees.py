"""Leaves of random trees over networks of every operator: bounds hold at the points that lie in the leaf."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from bounds.proof import Clause, Part
from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.check import Checker
from bounds.proof.format import Tree
from bounds.proof.network import Network
from bounds.proof.steps import Affine
from tests.bounds.proof.nets import leaf, onnx_bytes
from tests.bounds.proof.strategies import path_steps, random_shape
from tests.bounds.proof.test_network import CASES, REAL, model_of

A = Floats()
LEVELS = ("real", "deployed")


def all_values(net: Network, x: Array) -> list[Array]:
    values = [x]
    for step in net.steps:
        ins = np.concatenate([values[k] for k in step.inputs], 1)
        values.append(step.does.value(ins) if isinstance(step.does, Affine) else step.does.below(ins, A))
    return values


def tree_over(rng: np.random.Generator, net: Network, values: list[Array], part: Part) -> Tree:
    """Splits where values are, with any slopes, multipliers and weights."""
    splits, layers = int(rng.integers(1, 8)), [0, *(net.steps[k].inputs[0] for k in net.functions)]
    shape, clauses = random_shape(rng, splits), len(part.clauses)
    layer = rng.integers(len(layers), size=splits).astype(np.int32)
    element = np.array([rng.integers(net.size(layers[k])) for k in layer], np.int32)
    samples = rng.integers(len(values[0]), size=splits)
    at = [values[layers[k]][n, e] for k, e, n in zip(layer, element, samples, strict=True)]
    alternatives, sets = sum(len(c.rows) for c in part.clauses), int(rng.integers(3))
    elements, paths = sum(net.size(v) for v in layers[1:]), (path_steps(shape), clauses)
    return Tree(
        0,
        np.arange(clauses, dtype=np.int32),
        ["root", "leaf"][int(rng.integers(2))],
        rng.random((splits + 1, alternatives)).astype(np.float32),
        splits=shape,
        layer=layer,
        element=element,
        at=np.where(rng.random(splits) < 0.5, at, 0.0),
        multipliers=(rng.random(paths) * (rng.random(paths) < 0.5)).astype(np.float32),
        slopes=rng.integers(256, size=(sets, elements)).astype(np.uint8),
        chosen=rng.integers(sets + 1, size=(splits + 1, clauses)).astype(np.int32),
    )


@pytest.mark.parametrize("name", CASES)
def test_leaves_bound_what_lies_in_them(name: str) -> None:
    data, rng = model_of(name), np.random.default_rng(0)
    for round_ in range(6):
        level = "real" if name in REAL else LEVELS[round_ % 2]
        checker = Checker(data, level)
        net = checker.chain.network
        middle = rng.normal(size=net.inputs)
        part = Part(middle - 0.5, middle + 0.5, tuple(random_clause(rng, net) for _ in range(2)))
        values = all_values(net, rng.uniform(part.lower, part.upper, (300, net.inputs)))
        tree = tree_over(rng, net, values, part)
        found = checker.bounds(part, tree)
        layers = [0, *(net.steps[k].inputs[0] for k in net.functions)]
        mixed = mixtures(part, tree, values[net.output])
        for number in range(len(tree.weights)):
            inside = np.ones(300, np.bool_)
            for step in np.flatnonzero(tree.paths[0] == number):
                split = tree.paths[1][step]
                z = values[layers[tree.layer[split]]][:, tree.element[split]]
                inside &= tree.paths[2][step] * (z - tree.at[split]) > 1e-9
            least = mixed[number][inside].min(0, initial=np.inf)
            assert (found[number] <= least + 1e-9 * (1 + np.abs(least))).all()


def random_clause(rng: np.random.Generator, net: Network) -> Clause:
    count = int(rng.integers(1, 4))
    return Clause(rng.normal(size=(count, net.size(net.output))), rng.normal(size=count))


def mixtures(part: Part, tree: Tree, outputs: Array) -> Array:
    """What each leaf bounds at each point: (leaves, points, clauses)."""
    ends = np.cumsum([0, *(len(c.rows) for c in part.clauses)])
    each = [
        (outputs @ clause.rows.T + clause.offset) @ tree.weights[:, first:last].T.astype(np.float64)
        for clause, first, last in zip(part.clauses, ends[:-1], ends[1:], strict=True)
    ]
    return np.stack(each, 2).transpose(1, 0, 2)


def test_pieces_meet_what_is_the_same_for_all() -> None:
    """A split of neurons leaves the input as it is in the whole box; both are then joined."""
    rng, make = np.random.default_rng(6), helper.make_node
    nodes = [
        make("Gemm", ["x", "w"], ["z"]),
        make("Relu", ["z"], ["a"]),
        make("Concat", ["x", "a"], ["c"], axis=1),
        make("Gemm", ["c", "v"], ["y"]),
    ]
    w, v = (rng.normal(size=size).astype(np.float32) for size in ((2, 3), (5, 2)))
    checker = Checker(onnx_bytes(nodes, {"w": w, "v": v}, [1, 2]), "real")
    part = Part(-np.ones(2), np.ones(2), (Clause(rng.normal(size=(1, 2)), np.zeros(1)),))
    values = {key: getattr(leaf(part), key) for key in ("part", "clauses", "hidden", "slopes")}
    split = np.array([True, False, False]), np.ones(1, np.int32), np.zeros(1, np.int32), np.zeros(1)
    parts = dict(zip(("splits", "layer", "element", "at"), split, strict=True))
    ones, chosen = np.ones((2, 1), np.float32), np.zeros((2, 1), np.int32)
    bounds = checker.bounds(part, Tree(**values, **parts, weights=ones, multipliers=ones, chosen=chosen))
    x = rng.uniform(-1, 1, (1000, 2))
    z = x @ w
    y = np.concatenate([x, np.maximum(z, 0)], 1) @ v @ part.clauses[0].rows[0]
    for bound, side in zip(bounds[:, 0], (z[:, 0] >= 0, z[:, 0] <= 0), strict=True):
        assert bound <= y[side].min()


def test_a_leaf_that_is_empty_is_proved_so() -> None:
    """Without weights a bound > 0 says that the splits of the path contradict each other."""
    from tests.bounds.proof.test_tampered import DATA, proof

    whole = proof()
    tree, part = whole.trees[0], whole.statement.parts[0]
    # z0 = x >= 0.5 and z1 = -x >= 0.5: only both multipliers together show that there is no such x
    at = np.full(3, 0.25)
    nothing = np.zeros((4, 1), np.float32)
    multipliers = np.array([[1], [1], [0], [0], [0], [0], [0], [0]], np.float32)
    values = {k: getattr(tree, k) for k in ("part", "clauses", "hidden", "splits", "layer", "element")}
    more = {k: getattr(tree, k) for k in ("slopes", "chosen")}
    found = Checker(DATA, "real").bounds(
        part, Tree(**values, at=at, weights=nothing, multipliers=multipliers, **more)
    )
    assert found[0, 0] > 0.49
    assert not (found[1:] > 0).any()
