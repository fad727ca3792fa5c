"""Whatever slopes, multipliers and splits a proof holds: what the checker accepts is true, exactly."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from onnx import helper

from bounds.proof import Clause, Part, Statement, digest
from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.check import Checker
from bounds.proof.format import HIDDEN, Lemma, Tree
from tests.bounds.proof.nets import leaf, mlp, onnx_bytes
from tests.bounds.proof.strategies import path_steps, random_lemma, random_shape

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Net:
    """A perceptron with one input, and its file."""

    weights: list[Array]
    biases: list[Array]
    data: bytes

    @property
    def widths(self) -> list[int]:
        return [len(b) for b in self.biases]


def random_net(rng: Random, outputs: int = 1) -> Net:
    """Ill-scaled, with columns that nearly cancel."""
    widths = [1, *rng.integers(2, 5, int(rng.integers(1, 4))).tolist(), outputs]
    weights, biases = [], []
    for n, m in itertools.pairwise(widths):
        scale = 10.0 ** rng.uniform(-4, 8, (m, 1)) if rng.random() < 0.6 else 1.0
        w = rng.normal(size=(m, n)) * scale
        if n > 1 and rng.random() < 0.5:
            w[:, 1] = -w[:, 0] * (1 + 2.0**-20)
        weights.append(w.astype(np.float32))
        biases.append((rng.normal(size=m) * np.abs(w).max() * rng.choice([0.0, 1.0])).astype(np.float32))
    return Net(weights, biases, mlp(weights, biases))


def exactly(net: Net, low: float, high: float) -> list[tuple[Fraction, list[Fraction]]]:
    """Input and outputs at all points between which the network is linear, as fractions."""
    points = [(Fraction(x), [Fraction(x)]) for x in (low, high)]
    for k, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        rows = [[Fraction(float(w)) for w in row] for row in weight]
        offset = [Fraction(float(b)) for b in bias]
        points = [
            (
                x,
                [
                    sum((w * v for w, v in zip(row, z, strict=True)), b)
                    for row, b in zip(rows, offset, strict=True)
                ],
            )
            for x, z in points
        ]
        if k < len(net.weights) - 1:
            points = [(x, [max(v, Fraction(0)) for v in z]) for x, z in with_crossings(points)]
    return points


def with_crossings(points: list[tuple[Fraction, list[Fraction]]]) -> list[tuple[Fraction, list[Fraction]]]:
    """And the points in between at which some element is zero."""
    found = points[:1]
    for (x, f), (y, g) in itertools.pairwise(points):
        shares = {a / (a - b) for a, b in zip(f, g, strict=True) if a * b < 0}
        for t in [*sorted(shares), Fraction(1)]:
            found.append((x + t * (y - x), [a + t * (b - a) for a, b in zip(f, g, strict=True)]))
    return found


def with_splits(
    rng: Random, net: Net, clauses: int, alternatives: int, hidden: str, breaks: list[float], garbage: bool
) -> Tree:
    """A random tree: splits of the input at breaks, of neurons at zero, or anything anywhere."""
    splits = int(rng.integers(8))
    shape = random_shape(rng, splits)
    sizes, steps = [1, *net.widths[:-1]], len(net.widths) - 1
    layer = rng.integers(1 + steps, size=splits).astype(np.int32) * (rng.random() < 0.7)
    element = np.array([rng.integers(sizes[k]) for k in layer], np.int32)
    at = np.where(layer == 0, rng.choice(breaks, splits), 0.0)
    if garbage:
        at = np.where(
            rng.random(splits) < 0.5, at, rng.normal(size=splits) * 10.0 ** rng.integers(-8, 8, splits)
        )
    size = 10.0 ** rng.uniform(-6, 6) if garbage else 1.0
    sets, leaves = int(rng.integers(3)), splits + 1
    paths, ends = (path_steps(shape), clauses), 2 * sum(sizes[2:])
    rows = rng.random(ends if hidden == "root" and rng.random() < 0.5 else 0) < 0.5
    return Tree(
        0,
        np.arange(clauses, dtype=np.int32),
        hidden,
        (rng.random((leaves, alternatives)) * (rng.random((leaves, alternatives)) < 0.9)).astype(np.float32),
        rows=rows,
        splits=shape,
        layer=layer.astype(np.int32),
        element=element,
        at=at,
        multipliers=(rng.random(paths) * size * (rng.random(paths) < 0.5)).astype(np.float32),
        slopes=rng.integers(256, size=(sets, sum(sizes[1:]))).astype(np.uint8),
        chosen=rng.integers(sets + 1, size=(leaves, clauses)).astype(np.int32),
    )


def random_lemmas(rng: Random, net: Net) -> tuple[Lemma, ...]:
    """Lemmas of some layers."""
    sizes, scale = [1, *net.widths[:-1]], np.float32(10.0 ** rng.uniform(-6, 6))
    some = [of for of in range(2, len(sizes)) if rng.random() < 0.7]
    lemmas = [random_lemma(rng, 0, of, sizes, list(range(of))) for of in some]
    return tuple(replace(each, multipliers=each.multipliers * scale) for each in lemmas)


def near(rng: Random, value: Fraction) -> float:
    """A float next to a number, or some way off it."""
    x = float(value)
    away = rng.choice([0.0, 1e-16, 1e-12, 1e-6, 1e-2, 1.0]) * rng.choice([-1, 1])
    return float(
        np.nextafter(x, rng.choice([-np.inf, np.inf])) if away == 0 else x + away * max(abs(x), 1e-30)
    )


def tried(seed: int, exact: bool = False) -> tuple[int, int, int]:
    """How many statements were accepted, true and tried; fails where one is accepted and not true."""
    rng = np.random.default_rng(seed)
    net = random_net(rng, outputs=int(rng.integers(1, 3)))
    low = float(rng.normal())
    high = low + float(10.0 ** rng.uniform(-3, 1))
    points = exactly(net, low, high)
    breaks = [float(x) for x, _ in points]
    checker = Checker(net.data, "real", exact)
    accepted = true = 0
    for _ in range(6):
        rows = rng.normal(size=(int(rng.integers(1, 3)), net.widths[-1]))
        values = [[dot(row, y) for row in rows] for _, y in points]
        # linear in between, but the largest of some rows may be less there
        worst = largest_least(values)
        offset = near(rng, -worst)
        clause = Clause(rows, np.full(len(rows), offset))
        claim = Statement(digest(net.data), "real", (Part(np.array([low]), np.array([high]), (clause,)),))
        hidden, garbage = HIDDEN[int(rng.integers(3))], bool(rng.random() < 0.4)
        tree = with_splits(rng, net, 1, len(rows), hidden, breaks, garbage)
        proves = bool((checker.bounds(claim.parts[0], tree, random_lemmas(rng, net)) > 0).all())
        holds = worst + Fraction(offset) > 0
        assert holds or not proves, (seed, float(worst + Fraction(offset)))
        accepted, true = accepted + proves, true + holds
    return accepted, true, 6


def dot(row: Array, y: list[Fraction]) -> Fraction:
    return sum((Fraction(float(w)) * v for w, v in zip(row, y, strict=True)), Fraction(0))


def largest_least(values: list[list[Fraction]]) -> Fraction:
    """The least over the way of the largest row, linear between neighbouring points."""
    worst = min(max(v) for v in values)
    for f, g in itertools.pairwise(values):
        for i in range(len(f)):
            for j in range(i):
                a, b = f[i] - f[j], g[i] - g[j]
                if a * b < 0:
                    t = a / (a - b)
                    worst = min(worst, max(p + t * (q - p) for p, q in zip(f, g, strict=True)))
    return worst


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_accepted_is_true(start: int) -> None:
    accepted, true, _ = np.sum([tried(seed) for seed in range(start, start + 40)], 0)
    assert accepted > true / 8  # and not for want of accepting anything


def test_accepted_in_fractions_is_true() -> None:
    accepted, true, _ = np.sum([tried(seed, exact=True) for seed in range(1000, 1012)], 0)
    assert accepted > true / 8


@pytest.mark.parametrize("seed", range(60))
def test_float_bounds_are_below_exact_ones(seed: int) -> None:
    """Split at every break of the input the network is linear on each piece, and bounds are nearly exact."""
    rng = np.random.default_rng(5000 + seed)
    net = random_net(rng)
    low, high = -1.0, 1.0
    points = exactly(net, low, high)
    part = Part(np.array([low]), np.array([high]), (Clause(np.ones((1, 1)), np.zeros(1)),))
    tree = with_splits(rng, net, 1, 1, "leaf", [0.0], garbage=False)
    tree = replace(tree, weights=np.ones_like(tree.weights))
    floats = Checker(net.data, "real").bounds(part, tree)
    least = min(y[0] for _, y in points)
    assert Fraction(float(floats.min())) <= least
    exact = Checker(net.data, "real", exact=True).bounds(part, tree)
    assert min(exact[:, 0]) <= least
    assert all(isinstance(v, Fraction | int) or v == np.inf for v in exact[:, 0])


def stable_net(rng: Random, width: int) -> Net:
    """No ReLU changes sides for inputs from -1 to 1, so that bounds are exact but for rounding.

    What the output sums cancels nearly.
    """
    widths = [1, width, width, 1]
    weights, biases, most, value = [], [], np.ones(1), np.zeros(1)
    for n, m in itertools.pairwise(widths):
        w = (rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-3, 3, (m, 1))).astype(np.float32)
        most = np.abs(w) @ most
        b = (most * rng.choice([1.5, 1.5, 1.5, -1.5], m) if m > 1 else -(w @ value)).astype(np.float32)
        weights.append(w)
        biases.append(b)
        most, value = most + np.abs(b), np.maximum(w @ value + b, 0)
    return Net(weights, biases, mlp(weights, biases))


@pytest.mark.parametrize("level", ["real", "deployed"])
def test_rounding_is_paid_for(level: str) -> None:
    """Bounds that would be exact without rounding are below the exact least, each time, and not by much."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        net = stable_net(rng, [3, 10, 100][seed % 3])
        low, high = np.sort(rng.uniform(-1, 1, 2))
        part = Part(np.array([low]), np.array([high]), (Clause(np.ones((1, 1)), np.zeros(1)),))
        tree = leaf(part)
        found = Fraction(float(Checker(net.data, level).bounds(part, tree)[0, 0]))
        least = min(y[0] for _, y in exactly(net, float(low), float(high)))
        assert found < least
        if level == "real":
            assert found > least - Fraction(1e-8) * abs(Fraction(float(net.biases[-1][0])))


@pytest.mark.parametrize("seed", range(40))
def test_no_float32_execution_is_below_a_deployed_bound(seed: int) -> None:
    rng = np.random.default_rng(9000 + seed)
    net = random_net(rng)
    part = Part(np.array([-1.0]), np.array([1.0]), (Clause(np.ones((1, 1)), np.zeros(1)),))
    tree = with_splits(rng, net, 1, 1, ["root", "leaf"][seed % 2], [-0.5, 0.0, 0.5], garbage=False)
    tree = replace(tree, weights=np.ones_like(tree.weights))
    least = Checker(net.data, "deployed").bounds(part, tree).min()
    for x in np.linspace(-1, 1, 65, dtype=np.float32):
        for _ in range(3):
            assert executed(rng, net, x) >= least


def executed(rng: Random, net: Net, x: np.float32) -> float:
    """One float32 execution, every sum in an order of its own."""
    z = np.array([x], np.float32)
    for k, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        out = []
        for row, b in zip(weight, bias, strict=True):
            total = np.float32(0)
            for term in rng.permutation(np.append(row * z, b)):
                total = np.float32(total + term)
            out.append(total)
        z = np.array(out, np.float32)
        if k < len(net.weights) - 1:
            z = np.maximum(z, np.float32(0))
    return float(z[0])


def steep_sum(terms: Array, relu: bool = False) -> bytes:
    """The sum of constants times (3e38)^7, so that it is the rows on their way back that overflow."""
    nodes = [
        helper.make_node("Gemm", ["x", "none", "terms"], ["h"], transB=1),
        helper.make_node("Gemm", ["h", "ones"], ["m0"], transB=1),
        *(helper.make_node("Gemm", [f"m{k}", "big"], ["y" if k == 6 else f"m{k + 1}"]) for k in range(7)),
    ]
    if relu:
        nodes = [
            *nodes[:-1],
            helper.make_node("Gemm", ["m6", "big"], ["z"]),
            helper.make_node("Relu", ["z"], ["y"]),
        ]
    n = len(terms)
    constants = {
        "none": np.zeros((n, 1)),
        "terms": terms,
        "ones": np.ones((1, n)),
        "big": np.full((1, 1), 3e38),
    }
    return onnx_bytes(nodes, {k: v.astype(np.float32) for k, v in constants.items()}, [1, 1])


@pytest.mark.parametrize("seed", range(20))
def test_overflow_on_the_way_is_no_proof(seed: int) -> None:
    """Partial sums may exceed all float64 numbers where the sum, which is negative, does not."""
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=60) * 8e37
    terms = np.sort(terms - (terms.sum() + 1e36) / 60)[::-1].astype(np.float32)
    assert sum(map(Fraction, terms.tolist())) < 0
    part = Part(np.array([-1.0]), np.array([1.0]), (Clause(np.ones((1, 1)), np.zeros(1)),))
    for data in (steep_sum(terms), steep_sum(terms[::-1])):
        for hidden in HIDDEN:
            assert not Checker(data, "real").bounds(part, leaf(part, hidden))[0, 0] > 0


def test_infinity_is_no_bound() -> None:
    with np.errstate(invalid="ignore"):
        assert not Floats().down(np.array([np.inf])) > 0
        assert not Floats().up(np.array([-np.inf])) < 0


@pytest.mark.parametrize("sign", [1, -1])
def test_directed_rounding(sign: int) -> None:
    rng = np.random.default_rng(0)
    x = sign * np.concatenate(
        [rng.random(1000) * 2.0 ** rng.integers(-1074, 1023, 1000), [0.0, 5e-324, 2.0**-1022, 1.0, 1.7e308]]
    )
    assert (Floats().down(x) <= np.nextafter(x, -np.inf)).all()
    assert (Floats().up(x) >= np.nextafter(x, np.inf)).all()
    assert (np.abs(Floats().down(x) - x) <= np.abs(x) * 2.0**-50 + 1e-322).all()
