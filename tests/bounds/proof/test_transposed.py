"""Transposed convolutions as ONNX defines them, term by term in fractions: no value is below a bound."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import pytest
from onnx import helper

from bounds.proof import Clause, Part
from bounds.proof.arithmetic import Exact
from bounds.proof.basics import Array
from bounds.proof.check import Checker
from bounds.proof.format import HIDDEN, Tree
from tests.bounds.proof.nets import onnx_bytes
from tests.bounds.proof.strategies import path_steps, random_shape

exact = Exact().array


class Net:
    """Gemm, ReLU, a random ConvTranspose in one or two dimensions, ReLU, Gemm; 3 inputs and 2 outputs."""

    def __init__(self, rng: np.random.Generator, magnitudes: int) -> None:
        axes = int(rng.integers(1, 3))
        self.groups, per, self.outs = (int(n) for n in rng.integers(1, 3, 3))
        self.outward = [-1]
        while min(self.outward) < 1:
            self.size, self.kernel, self.strides, self.dilations = rng.integers(1, 4, (4, axes)).tolist()
            self.pads = rng.integers(0, 3, 2 * axes).tolist()
            ends = zip(self.wide, self.pads[:axes], self.pads[axes:], strict=True)
            self.outward = [n - p - q for n, p, q in ends]
        ins, made = self.groups * per, self.groups * self.outs * prod(self.outward)
        shapes = {
            "v": (ins * prod(self.size), 3),
            "c": (ins * prod(self.size),),
            "w": (ins, self.outs, *self.kernel),
            "b": (self.groups * self.outs,),
            "u": (2, made),
            "d": (2,),
        }
        powers = {name: 10.0 ** rng.integers(-magnitudes, magnitudes + 1, s) for name, s in shapes.items()}
        self.of = {name: (rng.normal(size=s) * powers[name]).astype(np.float32) for name, s in shapes.items()}

    @property
    def wide(self) -> list[int]:
        """The size of the image before its border is cut off."""
        axes = zip(self.size, self.kernel, self.strides, self.dilations, strict=True)
        return [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in axes]

    def onnx(self) -> bytes:
        attributes = {name: getattr(self, name) for name in ("strides", "dilations", "pads")}
        shape = np.array([1, len(self.of["w"]), *self.size], np.int64)
        nodes = [
            helper.make_node("Gemm", ["x", "v", "c"], ["z"], transB=1),
            helper.make_node("Relu", ["z"], ["a"]),
            helper.make_node("Reshape", ["a", "shape"], ["i"]),
            helper.make_node("ConvTranspose", ["i", "w", "b"], ["t"], group=self.groups, **attributes),
            helper.make_node("Relu", ["t"], ["r"]),
            helper.make_node("Flatten", ["r"], ["f"]),
            helper.make_node("Gemm", ["f", "u", "d"], ["y"], transB=1),
        ]
        return onnx_bytes(nodes, {**self.of, "shape": shape}, [1, 3])

    def __call__(self, x: Array) -> Array:
        """The output at a point, in fractions."""
        v, c, w, b, u, d = (exact(self.of[name]) for name in "vcwbud")
        image = np.maximum(v @ exact(x) + c, Fraction(0)).reshape(-1, *self.size)
        made = np.full((self.groups * self.outs, *self.wide), Fraction(0), object)
        for channel, *place in itertools.product(range(len(w)), *map(range, self.size)):
            first = channel // (len(w) // self.groups) * self.outs
            for offset in itertools.product(*map(range, self.kernel)):
                steps = zip(place, offset, self.strides, self.dilations, strict=True)
                at = tuple(s * p + d * k for p, k, s, d in steps)
                for out in range(self.outs):
                    made[(first + out, *at)] += image[(channel, *place)] * w[(channel, out, *offset)]
        border = zip(self.pads, self.outward, strict=False)
        inside = made[(slice(None), *(slice(p, p + n) for p, n in border))]
        shifted = inside + b.reshape(-1, *[1] * len(self.size))
        values: Any = u @ np.maximum(shifted.reshape(-1), Fraction(0)) + d
        return np.asarray(values)


def some_tree(rng: np.random.Generator, checker: Checker, part: Part) -> Tree:
    """Any splits, slopes and multipliers; with weights of 1."""
    shape = random_shape(rng, int(rng.integers(4)))
    splits, steps, count = int(shape.sum()), path_steps(shape), len(part.clauses)
    sizes = [checker.chain.network.size(value) for value in checker.values]
    layer = rng.integers(len(sizes), size=splits).astype(np.int32)
    return Tree(
        part=0,
        clauses=np.arange(count, dtype=np.int32),
        hidden=HIDDEN[int(rng.integers(3))],
        splits=shape,
        layer=layer,
        element=np.array([rng.integers(sizes[k]) for k in layer], np.int32),
        at=rng.normal(size=splits) * (rng.random(splits) < 0.5),
        weights=np.ones((splits + 1, count), np.float32),
        multipliers=(rng.random((steps, count)) * (rng.random((steps, count)) < 0.5)).astype(np.float32),
        slopes=rng.integers(256, size=(2, sum(sizes[1:]))).astype(np.uint8),
        chosen=rng.integers(3, size=(splits + 1, count)).astype(np.int32),
    )


@pytest.mark.parametrize("magnitudes", [0, 4, 8])
@pytest.mark.parametrize("seed", range(10))
def test_no_value_is_below_a_bound(seed: int, magnitudes: int) -> None:
    rng = np.random.default_rng([seed, magnitudes])
    net = Net(rng, magnitudes)
    checkers = [Checker(net.onnx(), "real"), Checker(net.onnx(), "real", exact=True)]
    middle, radius = rng.normal(size=3), rng.choice([0.0, 1e-7, 0.5])
    low, high = middle - radius, middle + radius
    part = Part(low, high, tuple(Clause(row[None], np.zeros(1)) for row in rng.normal(size=(2, 2))))
    ends = [np.where(rng.random(3) < 0.5, low, high) for _ in range(3)]
    outputs = [net(x) for x in (*ends, np.clip(middle, low, high))]
    least = [min(exact(clause.rows[0]) @ y for y in outputs) for clause in part.clauses]
    for checker, tree in itertools.product(checkers, [some_tree(rng, checkers[0], part) for _ in range(3)]):
        bounds = checker.bounds(part, tree).min(0)  # of leaves that cover the box
        assert all(
            not bound > -np.inf or Fraction(bound) <= value
            for bound, value in zip(bounds, least, strict=True)
        )
        if radius == 0 and len(tree.weights) == 1 and checker is checkers[1]:
            assert list(bounds) == least
