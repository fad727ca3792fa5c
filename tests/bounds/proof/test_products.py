"""Products, quotients and softmax: no bound is above what points in the box give, by mpmath."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from onnx import helper

from bounds.proof import Clause, Part, Proof, Refused
from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.check import Checker, check
from bounds.proof.functions import Function
from bounds.proof.more import MORE, operators
from bounds.proof.more.functions import Curved, Product, Reciprocal, Wave, power
from tests.bounds.proof.nets import leaf, onnx_bytes, statement
from tests.bounds.proof.strategies import random_tree

A = Floats()
Random = np.random.Generator
Nodes = list[tuple[str, list[str], str, dict[str, Any]]]


def polynomial() -> tuple[Nodes, list[int]]:
    return [
        ("Gemm", ["x", "v", "b"], "z", {}),
        ("Relu", ["z"], "a", {}),
        ("Gemm", ["a", "w"], "c", {}),
        ("Mul", ["c", "z"], "p", {}),
        ("Pow", ["p", "two"], "q", {}),
        ("Pow", ["z", "three"], "t", {}),
        ("Sub", ["q", "t"], "s", {}),
        ("Mul", ["s", "p"], "y", {}),
    ], [1, 3]


def products() -> tuple[Nodes, list[int]]:
    return [
        ("Gemm", ["x", "v", "b"], "z", {}),
        ("Mul", ["z", "x"], "p", {}),
        ("Gemm", ["p", "w"], "c", {}),
        ("Mul", ["c", "z"], "y", {}),
    ], [1, 3]


def powers() -> tuple[Nodes, list[int]]:
    return [("Pow", ["x", "three"], "t", {}), ("Sub", ["t", "x"], "y", {})], [1, 1]


def quotient() -> tuple[Nodes, list[int]]:
    return [
        ("Gemm", ["x", "v", "b"], "z", {}),
        ("Sin", ["z"], "s", {}),
        ("Cos", ["x"], "c", {}),
        ("Mul", ["s", "c"], "p", {}),
        ("Pow", ["z", "two"], "q", {}),
        ("ReduceSum", ["q"], "t", {}),
        ("Add", ["t", "one"], "d", {}),
        ("Div", ["p", "d"], "y", {}),
    ], [1, 3]


def attention() -> tuple[Nodes, list[int]]:
    return [
        ("MatMul", ["x", "v"], "k", {}),
        ("Transpose", ["k"], "t", {"perm": [0, 2, 1]}),
        ("MatMul", ["x", "t"], "s", {}),
        ("Softmax", ["s"], "a", {}),
        ("MatMul", ["a", "x"], "m", {}),
        ("Sub", ["m", "k"], "y", {}),
    ], [1, 2, 3]


def weighted() -> tuple[Nodes, list[int]]:
    """Like averages, but with weights that add up to anything."""
    return [
        ("Exp", ["x"], "e", {}),
        ("Reciprocal", ["e"], "r", {}),
        ("MatMul", ["x", "v"], "k", {}),
        ("MatMul", ["r", "k"], "m", {}),
        ("Floor", ["m"], "f", {}),
        ("Sub", ["m", "f"], "y", {}),
    ], [1, 3, 3]


def reshaped() -> tuple[Nodes, list[int]]:
    """Shares that do not add up to one as they come to be weights."""
    return [
        ("Softmax", ["x"], "a", {}),
        ("Reshape", ["a", "sizes"], "r", {}),
        ("MatMul", ["r", "x"], "y", {}),
    ], [1, 3, 2]


FAMILIES = {
    "polynomial": polynomial,
    "products": products,
    "powers": powers,
    "quotient": quotient,
    "attention": attention,
    "weighted": weighted,
    "reshaped": reshaped,
}


def each(function: Callable[[Any], Any]) -> Callable[..., Array]:
    return np.vectorize(function, otypes=[object])


def softmax(x: Array) -> Array:
    e = each(mpmath.exp)(x)
    return e / e.sum(-1, keepdims=True)


EXACTLY: dict[str, Callable[..., Any]] = {
    "Gemm": lambda x, w, b=0: x @ w + b,
    "MatMul": lambda x, y: x @ y,
    "Relu": each(lambda z: max(z, mpmath.mpf(0))),
    "Mul": lambda x, y: x * y,
    "Add": lambda x, y: x + y,
    "Sub": lambda x, y: x - y,
    "Div": lambda x, y: x / y,
    "Pow": lambda x, n: x ** int(n),
    "ReduceSum": lambda x: x.sum(keepdims=True),
    "Transpose": lambda x: x.swapaxes(-1, -2),
    "Reshape": lambda x, sizes: x.reshape([int(n) for n in sizes]),
    "Sin": each(mpmath.sin),
    "Cos": each(mpmath.cos),
    "Exp": each(mpmath.exp),
    "Floor": each(mpmath.floor),
    "Reciprocal": each(lambda z: 1 / z),
    "Softmax": softmax,
}
exactly = each(lambda z: mpmath.mpf(float(z)))


def constants(rng: Random) -> dict[str, Array]:
    """Weights, at times of very different scales or nearly cancelling."""
    v, w = rng.normal(size=(2, 3, 3))
    if rng.random() < 0.3:
        v = v * 10.0 ** rng.uniform(-3, 1, 3)
    if rng.random() < 0.3:
        w[1] = -w[0] * (1 + 2.0**-20)
    given = {"v": v, "w": w, "b": rng.normal(size=3), "two": 2, "three": 3, "one": 1}
    made = {name: np.asarray(value, np.float32) for name, value in given.items()}
    return {**made, "sizes": np.array([1, 2, 3])}


def network(family: str, rng: Random) -> tuple[bytes, Callable[[Array], Array]]:
    """A file, and what it computes at a point, by mpmath."""
    (nodes, shape), given = FAMILIES[family](), constants(rng)
    used = {name: value for name, value in given.items() if any(name in ins for _, ins, _, _ in nodes)}
    made = [helper.make_node(op, ins, [out], **attributes) for op, ins, out, attributes in nodes]

    def value(x: Array) -> Array:
        known = {"x": exactly(x.reshape(shape)), **{name: exactly(c) for name, c in used.items()}}
        for op, ins, out, _ in nodes:
            known[out] = EXACTLY[op](*(known[name] for name in ins))
        return np.asarray(known["y"]).ravel()

    return onnx_bytes(made, used, shape), value


def gap(family: str, seed: int) -> tuple[mpmath.mpf, mpmath.mpf]:
    """How far below the least of some points the bound of a random tree is, and of one without splits."""
    rng = np.random.default_rng(seed)
    with mpmath.workdps(60):
        data, value = network(family, rng)
        checker = Checker(data, "real")
        net = checker.chain.network
        middle = rng.normal(size=net.inputs)
        width = rng.choice([0.0, 10.0 ** rng.uniform(-9, -3), 10.0 ** rng.uniform(-3, 0.3)])
        low, high = middle - width * rng.random(net.inputs), middle + width * rng.random(net.inputs)
        row = rng.normal(size=(1, net.size(net.output)))
        part = Part(low, high, (Clause(row, np.zeros(1)),))
        points = [np.where(rng.random(net.inputs) < 0.5, low, high) for _ in range(12)]
        points += [np.clip(low + rng.random(net.inputs) * (high - low), low, high) for _ in range(12)]
        least = min((exactly(row[0]) * value(x)).sum() for x in points)
        tree = random_tree(rng, 0, [0], 1, [net.size(v) for v in checker.values])
        tree = replace(tree, weights=np.ones_like(tree.weights))
        plain = leaf(part, ["none", "root", "leaf"][seed % 3])
        found = [checker.bounds(part, each)[:, 0].min() for each in (tree, plain)]
        away = [least - mpmath.mpf(float(x)) if x > -np.inf else mpmath.inf for x in found]
        return away[0], away[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_bound_is_above_what_a_point_gives(family: str) -> None:
    """Whatever splits, multipliers and slopes; and bounds that need none are close where boxes are small."""
    plain = []
    for seed in range(60):
        found = gap(family, seed)
        assert min(found) >= 0, (seed, found)
        plain.append(found[1])
    assert sum(x < 1e-6 for x in plain) >= 15
    assert sum(x < 10 for x in plain) >= 40


def _corners(self: Product, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
    (p, q), ((x, y), (u, v)) = np.split(slope, 2, 1), (np.split(end, 2, 1) for end in (low, high))
    return np.minimum(*(sign * (r * s - p * r - q * s) for r, s in ((x, y), (u, v))))


def _rising(self: Function, low: Array, high: Array, a: Floats) -> tuple[Array, Array]:
    return self.below(low, a), -self.below(high, a, -1)


def _no_rounding(patch: pytest.MonkeyPatch) -> None:
    for name in ("down", "up"):
        patch.setattr(Floats, name, lambda self, x: x)
    patch.setattr(Floats, "gamma", lambda self, n, u=0.0: 0.0)
    patch.setattr(Floats, "tiny", 0.0)


def _powers(patch: pytest.MonkeyPatch, **wrong: Any) -> None:
    patch.setattr(operators, "power", lambda exponent: replace(power(exponent), **wrong))


PLANTED: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "two corners alone": ("polynomial", lambda patch: patch.setattr(Product, "least", _corners)),
    "products that rise": ("polynomial", lambda patch: patch.setattr(Product, "image", _rising)),
    "squares that rise": ("polynomial", lambda patch: _powers(patch, rises=True)),
    "cubes that are convex": ("powers", lambda patch: _powers(patch, bends=(1, 1))),
    "waves between their ends": ("quotient", lambda patch: patch.setattr(Wave, "least", Function.least)),
    "a convex function under its chord": (
        "attention",
        lambda patch: patch.setattr(Curved, "least", Function.least),
    ),
    "any weights are shares": (
        "weighted",
        lambda patch: patch.setitem(
            MORE, "Reciprocal", lambda r, x: r.add(Reciprocal(count=3), [r.value(x)], r.shape(x))
        ),
    ),
    "no rounding": ("products", _no_rounding),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family, plant = PLANTED[name]
    plant(monkeypatch)
    assert any(min(gap(family, seed)) < 0 for seed in range(400))


def test_planes_with_any_slopes_hold_and_touch() -> None:
    """Exactly, in fractions, at corners and inside; some corner is nearly met."""
    rng, does, count = np.random.default_rng(0), Product(), 200
    scale = 10.0 ** rng.uniform(-6, 3, (1, 2 * count))
    low = rng.normal(size=(1, 2 * count)) * scale
    high = low + rng.random(low.shape) * scale * (rng.random(low.shape) < 0.8)
    codes = rng.integers(0, 256, (1, count)).astype(np.uint8)
    for sign in (1, -1):
        slopes = [does.slope(low, high, None, A, sign), does.slope(low, high, codes, A, sign)]
        for slope in (*slopes, rng.normal(size=low.shape) * 10.0 ** rng.uniform(-6, 6, low.shape)):
            least = does.least(low, high, slope, A, sign)[0]
            for k in range(count):
                lx, ly, ux, uy, p, q = (
                    Fraction(float(v[0, j])) for v in (low, high, slope) for j in (k, k + count)
                )
                shares = [Fraction(n, 3) for n in range(4)]
                there = [
                    sign * (x * y - p * x - q * y)
                    for x, y in (
                        (lx + s * (ux - lx), ly + t * (uy - ly)) for s, t in itertools.product(shares, shares)
                    )
                ]
                size = max(abs(x * y) + abs(p * x) + abs(q * y) for x in (lx, ux) for y in (ly, uy))
                assert Fraction(float(least[k])) <= min(there)
                assert min(there) - Fraction(float(least[k])) <= Fraction(1, 2**48) * size + Fraction(
                    1, 2**1000
                )


def test_codes_of_products_turn_their_planes() -> None:
    """The ends of the range are McCormick's two planes, and the checker's own is half-way between them."""
    does, low, high = Product(), np.array([[-1.0, 2.0]]), np.array([[3.0, 5.0]])  # x, y
    for sign, planes in ((1, [(2.0, -1.0), (5.0, 3.0)]), (-1, [(5.0, -1.0), (2.0, 3.0)])):
        for code, plane in zip((1, 255), planes, strict=True):
            slope = does.slope(low, high, np.array([[code]], np.uint8), A, sign)
            np.testing.assert_allclose(slope, [plane], rtol=1e-15)
        for codes in (None, np.array([[0]], np.uint8), np.array([[128]], np.uint8)):
            np.testing.assert_allclose(does.slope(low, high, codes, A, sign), [[3.5, 1.0]], rtol=1e-15)


@pytest.mark.parametrize(("code", "least"), [(0, 2.5), (1, 3.0), (255, 2.0)])
def test_what_is_just_false_is_refused(code: int, least: float) -> None:
    """x y on x from 1 to 2 and y from 3 to 4: the least is 3, which takes the plane of the lower corner."""
    nodes = [
        helper.make_node("Gemm", ["x", "first"], ["a"]),
        helper.make_node("Gemm", ["x", "second"], ["b"]),
        helper.make_node("Mul", ["a", "b"], ["y"]),
    ]
    given = {"first": np.float32([[1], [0]]), "second": np.float32([[0], [1]])}
    data = onnx_bytes(nodes, given, [1, 2])
    low, high = np.array([1.0, 3.0]), np.array([2.0, 4.0])
    arrays = {"slopes": np.array([[code]], np.uint8), "chosen": np.array([[1]], np.int32)}
    for offset, proved in ((1e-9, True), (0.0, False), (-1e-9, False)):
        claim = statement(data, low, high, np.ones((1, 1)), np.array([offset - least]))
        proof = Proof(claim, (replace(leaf(claim.parts[0]), **arrays),))
        if proved:
            assert check(proof, data).leaves == 1
        else:
            with pytest.raises(Refused, match="its bound"):
                check(proof, data)


@pytest.mark.parametrize("family", FAMILIES)
def test_fractions_and_executions_are_refused(family: str) -> None:
    data, _ = network(family, np.random.default_rng(0))
    with pytest.raises(Refused, match="fractions"):
        Checker(data, "real", exact=True)
    with pytest.raises(Refused, match="use level 'real'"):
        Checker(data, "deployed")


def test_zero_in_a_denominator_is_no_proof() -> None:
    nodes = [helper.make_node("Div", ["x", "x"], ["y"])]
    data = onnx_bytes(nodes, {}, [1, 1])
    checker = Checker(data, "real")
    for ends in ((-1.0, 1.0), (0.0, 1.0), (-1.0, 0.0)):
        part = Part(*(np.array([end]) for end in ends), (Clause(np.zeros((1, 1)), np.ones(1)),))
        for hidden in ("none", "root", "leaf"):
            assert not checker.bounds(part, leaf(part, hidden))[0, 0] > 0
