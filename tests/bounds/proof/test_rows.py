"""Which rows for neurons a tree picks: whatever it does, what is found is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bounds.proof import Clause, Part, Proof, Refused, Statement, digest
from bounds.proof.basics import Array
from bounds.proof.chain import Facts
from bounds.proof.check import Checker, check
from bounds.proof.file import unpacked
from bounds.proving import prove
from bounds.proving.written import packed
from tests.bounds.proof.nets import leaf, mlp
from tests.bounds.proof.test_lemmas import deep, lemmas_of, residual
from tests.bounds.proof.test_network import CASES, model_of
from tests.bounds.proof.test_trees import all_values
from tests.bounds.proving.test_prove import MANY, network, question, shifted

Random = np.random.Generator


def count(checker: Checker) -> int:
    """How many rows there may be."""
    return 2 * sum(map(checker.chain.network.size, checker.chain.loose))


def asked(checker: Checker, rng: Random, eps: float = 1.0) -> Part:
    """About some function of the outputs on a box."""
    network, middle = checker.chain.network, rng.normal(size=checker.chain.network.inputs)
    rows = rng.normal(size=(1, network.size(network.output)))
    return Part(middle - eps, middle + eps, (Clause(rows, np.zeros(1)),))


def facts(checker: Checker, part: Part, rows: Array) -> Facts:
    with np.errstate(all="ignore"):
        return checker._known(part, (), rows)


@pytest.mark.parametrize("name", [*CASES, "deep", "residual"])
def test_values_lie_within_what_some_rows_say(name: str) -> None:
    """At points of the box, in every layer, with lemmas where there are more layers."""
    own: dict[str, Callable[[Random], bytes]] = {
        "deep": lambda rng: deep(rng, "Relu"),
        "residual": residual,
    }
    for seed in range(4):
        rng = np.random.default_rng(seed)
        checker = Checker(own[name](rng) if name in own else model_of(name), "real")
        part = asked(checker, rng, 0.5)
        values = all_values(
            checker.chain.network, rng.uniform(part.lower, part.upper, (200, part.lower.size))
        )
        lemmas = lemmas_of(rng, checker, values) if name in own else ()
        rows = rng.random(count(checker)) < rng.random()
        tree = replace(leaf(part), rows=rows)
        bound = checker.bounds(part, tree, lemmas)[0, 0]
        least = (values[-1] @ part.clauses[0].rows[0]).min()
        assert not bound > least + 1e-9 * (1 + abs(least))
        with np.errstate(all="ignore"):
            found = checker._known(part, lemmas, rows)
        for value, fact in zip(values, found.values, strict=True):
            slack = 1e-9 * (1 + np.abs(value).max())
            assert not (fact.low - slack > value).any()
            assert not (value > fact.high + slack).any()


@pytest.mark.parametrize("net", ["Relu", "Tanh", "residual"])
def test_each_row_bounds_its_own_end(net: str) -> None:
    """Numbered value by value, upper ends before lower ones: alone it moves that end, if all rows would."""
    rng = np.random.default_rng(0)
    checker = Checker(residual(rng) if net == "residual" else deep(rng, net), "real")
    part = asked(checker, rng)
    none = facts(checker, part, np.zeros(count(checker), np.bool_))
    start, moved = 0, 0
    for value in sorted(checker.chain.loose):
        size = checker.chain.network.size(value)
        for number in range(2 * size):
            rows = np.arange(count(checker)) == start + number
            found, old = facts(checker, part, rows).values[value], none.values[value]
            upper, lower = found.high[0] < old.high[0], found.low[0] > old.low[0]
            here = np.arange(size) == number % size
            assert not (upper & ~(here & (number < size))).any()
            assert not (lower & ~(here & (number >= size))).any()
            moved += int(upper.sum() + lower.sum())
        start += 2 * size
    assert start == count(checker)
    assert moved > start / 4


def test_all_rows_and_none_of_them() -> None:
    rng = np.random.default_rng(1)
    checker = Checker(deep(rng, "Relu"), "real")
    part = asked(checker, rng)
    every, none = np.ones(count(checker), np.bool_), np.zeros(count(checker), np.bool_)
    plain, alone = checker.bounds(part, leaf(part)), checker.bounds(part, leaf(part, "none"))
    assert checker.bounds(part, replace(leaf(part), rows=every)) == plain
    assert checker.bounds(part, replace(leaf(part), rows=none)) == alone
    assert plain > alone
    for wrong in (every[1:], np.append(every, True)):
        with pytest.raises(Refused, match=f"it picks from {len(wrong)} rows, not {len(every)}"):
            checker.bounds(part, replace(leaf(part), rows=wrong))


DATA = mlp(
    [np.array([[1.0], [-1.0]]), np.ones((1, 2)), -np.ones((1, 1))], [np.zeros(2), -np.ones(1), np.zeros(1)]
)


def proof(offset: float) -> Proof:
    """offset - relu(|x| - 1) > 0 on [-1, 1] needs the row for the upper end of |x| - 1, which is 0."""
    part = Part(np.array([-1.0]), np.array([1.0]), (Clause(np.array([[1.0]]), np.array([offset])),))
    tree = replace(leaf(part), rows=np.array([True, False]))
    return Proof(Statement(digest(DATA), "real", (part,)), (tree,))


@pytest.mark.parametrize("exact", [False, True])
def test_a_proof_by_one_row(exact: bool) -> None:
    assert check(unpacked(packed(proof(0.001))), DATA, exact).leaves == 1
    for offset, rows in ((0.001, [False, True]), (0.001, [False, False]), (-1e-9, [True, True])):
        whole = proof(offset)
        with pytest.raises(Refused, match="its bound"):
            check(replace(whole, trees=(replace(whole.trees[0], rows=np.array(rows)),)), DATA, exact)


def test_trees_of_a_part_may_pick_different_rows() -> None:
    """What is known by one choice is not used for another."""
    whole = proof(0.001)
    [part], [tree] = whole.statement.parts, whole.trees
    two = replace(part, clauses=part.clauses * 2)
    trees = tuple(
        replace(tree, clauses=np.array([k], np.int32), rows=np.array([k == 0, False])) for k in range(2)
    )
    with pytest.raises(Refused, match="tree 1"):
        check(Proof(replace(whole.statement, parts=(two,)), trees), DATA)


@pytest.mark.parametrize("seed", range(3))
def test_proofs_leave_out_rows_that_say_nothing_new(seed: int, tmp_path: Path) -> None:
    graph, data = network(MANY, seed, tmp_path)
    region, spec = question(graph, seed, None)
    found = prove(graph, region, shifted(graph, region, spec, 0.02), data, timeout=60).proof
    assert found is not None
    picked = [tree.rows for tree in found.trees if tree.hidden == "root"]
    assert picked
    assert all(0 < rows.sum() < 0.8 * len(rows) for rows in picked)

    def least(change: Callable[[Array], Array]) -> float:
        trees = tuple(replace(t, rows=change(t.rows)) for t in found.trees)
        return check(replace(found, trees=trees), data).least or 0.0

    assert abs(least(lambda rows: rows) - least(lambda rows: rows[:0])) < 1e-6
    with pytest.raises(Refused, match="its bound"):
        least(np.zeros_like)
