"""Networks built so that floating-point bounds lie: about exact arithmetic, or about what is executed.

After Jia & Rinard 2021 ("Exploiting verified neural networks via floating point numerical error"), Zombori et
al. 2021 ("Fooling a complete neural network verifier"), and the ways in which floats go wrong in general.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

import bounds
from benchmarks import exactly
from bounds.graph import Ref
from bounds.kinds import Operator
from bounds.ops.elementwise import Add, Negate, Shift
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU
from bounds.ops.sshape import Sigmoid, Tanh

Execution = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Deception:
    """A network of one box, ``sign * output + offset > 0`` as its property, and a point of the box that
    breaks it, in exact arithmetic, in some float32 execution, or in both.

    execution: one that IEEE-754 allows, where that of the graph itself would not do.
    """

    name: str
    how: str
    graph: bounds.Graph
    region: bounds.Box
    spec: bounds.Spec
    point: Tensor
    execution: Execution | None = None

    def exact(self) -> Fraction:
        """The deciding value at the point, exactly."""
        y = exactly.value(self.graph, [Fraction(v) for v in self.point.double().tolist()])
        row, offset = self.spec.matrix[0, 0].double().tolist(), float(self.spec.offset[0, 0])
        return sum((Fraction(w) * v for w, v in zip(row, y, strict=True)), Fraction(offset))

    def executed(self) -> float:
        """The deciding value, in float64, of the outputs that a float32 execution has at the point."""
        run = self.graph if self.execution is None else self.execution
        y = run(self.point.float()[None]).flatten(1).double()
        return float(self.spec.evaluate(y)[0, 0])


class _Net:
    """A builder of vectors, with every number written out; biases are layers of their own."""

    def __init__(self, inputs: int = 1) -> None:
        self.builder = bounds.Builder((inputs,))
        self.here = self.builder.input

    def then(self, op: Operator, *params: Tensor) -> _Net:
        self.here = self.builder.apply(op, [self.here], params)
        return self

    def linear(self, rows: Sequence[Sequence[float]], bias: Sequence[float] | None = None) -> _Net:
        shift = [0.0] * len(rows) if bias is None else bias
        return self.then(Linear(), torch.tensor(rows), torch.tensor(shift))

    def shift(self, *by: float) -> _Net:
        return self.then(Shift(), torch.tensor(by))

    def relu(self) -> _Net:
        return self.then(LeakyReLU())

    def plus(self, other: Ref) -> _Net:
        self.here = self.builder.apply(Add(), [self.here, other])
        return self

    def build(self) -> bounds.Graph:
        return self.builder.build(self.here)


def _case(
    name: str,
    how: str,
    graph: bounds.Graph,
    property_: tuple[float, float],
    box: tuple[float, float] = (0.3, 0.4),
    point: float = 0.35,
    execution: Execution | None = None,
) -> Deception:
    """All inputs have the same range and, at the point, the same value."""
    inputs = graph.input_shape[0]
    lower, upper = (torch.full((1, inputs), end, dtype=torch.float64) for end in box)
    sign, offset = property_
    spec = bounds.Spec(torch.tensor([[[sign]]]).double(), torch.tensor([[offset]], dtype=torch.float64))
    at = torch.full((inputs,), point, dtype=torch.float64)
    return Deception(name, how, graph, bounds.Box(lower, upper), spec, at, execution)


def absorbed(m: float) -> bounds.Graph:
    """relu(relu(x + m) - m): x again, unless the sum has lost it."""
    return _Net().shift(m).relu().shift(-m).relu().build()


def _switched() -> bounds.Graph:
    """x + 1 - 100 s, where the switch s is 0 for every float and 0.1 or more in exact arithmetic."""
    net = _Net()
    x = net.builder.input
    net.shift(2.0**54).relu().shift(-(2.0**54)).shift(-0.2).relu().linear([[-100.0]])
    return net.plus(net.builder.apply(Shift(), [x], (torch.ones(1),))).build()


def _branches() -> bounds.Graph:
    """relu(relu(x + m) - m): two branches of which one is constant."""
    net, m = _Net(), 1e9
    one = net.builder.apply(Linear(), [net.builder.input], (torch.zeros(1, 1), torch.tensor([m])))
    other = net.builder.apply(Negate(), [net.builder.apply(LeakyReLU(), [one])])
    return net.shift(m).relu().plus(other).relu().build()


def _ordered(x: Tensor) -> Tensor:
    """2^25 + x - 2^25 summed from the left."""
    y = torch.full_like(x, 2.0**25) + x
    return y - 2.0**25


def _one_by_one(x: Tensor) -> Tensor:
    """A sum of 2^24 and 4096 inputs, from the left."""
    total = torch.full_like(x[:, 0], 2.0**24)
    for term in x.T:
        total = total + term
    return (total - 2.0**24)[:, None]


def _from_the_left(x: Tensor) -> Tensor:
    """3e38 x + 3e38 x - 3e38 x - ..., and then smaller."""
    large, small = torch.tensor(3e38), torch.tensor(1e-38)
    y = x[:, 0] * large + x[:, 1] * large
    return (small * (y - x[:, 2] * large - x[:, 3] * large))[:, None]


def _point(value: float) -> tuple[tuple[float, float], float]:
    return (value, value), value


def _large_and_small() -> list[Deception]:
    """Numbers that differ so much in size that a sum or a product loses one of them."""
    up, down = (1.0, -0.25), (-1.0, 0.25)
    scaled = _Net().linear([[1e-8]], [1.0]).relu().shift(-1.0).linear([[1e8]]).relu().build()
    tiny = _Net()
    for scale in (1e-25, 1e-25, 1e25, 1e25):
        tiny.linear([[scale]]).relu()
    deep = _Net()
    for m in (2.0**20, 2.0**22, 2.0**24, 2.0**26):
        deep.shift(m).relu().shift(-m).relu()
    constants = _Net().linear([[0.0], [1.0], [0.0]], [1.0, 0.0, 1.0]).relu()
    order = constants.linear([[2.0**25, 1.0, -(2.0**25)]]).build()
    return [
        _case("absorbed", "x + 2^25 - 2^25; float32 rounds x away", absorbed(2.0**25), up),
        _case("absorbed twice", "x + 2^54 - 2^54; float64 does so, too", absorbed(2.0**54), down),
        _case("backdoor", "a switch that is off in floats (Zombori et al.)", _switched(), (1.0, 0.0)),
        _case("summation order", "2^25 + x - 2^25 in one dot product", order, up, execution=_ordered),
        _case("1e8 and 1e-8", "1e8 (1 + 1e-8 x - 1)", scaled, down),
        _case("branches", "(x + 1e9) - 1e9 over two branches", _branches(), down),
        _case("many layers", "four shifts back and forth, each larger", deep.build(), up),
        _case("denormals", "1e25^2 (1e-25^2 x): the product underflows", tiny.build(), down),
    ]


def _sums_and_ranges() -> list[Deception]:
    """Long sums, the end of the range, flat functions, fused products, inputs that are no float32."""
    many = _Net(4096).relu().linear([[1.0] * 4096], [2.0**24]).shift(-(2.0**24)).build()
    over = _Net(4).relu().linear([[3e38, 3e38, -3e38, -3e38]]).linear([[1e-38]]).build()
    flat = _Net().shift(20.0).then(Sigmoid()).shift(-1.0).linear([[-1e9]]).relu().build()
    steep = _Net().shift(10.0).then(Tanh()).shift(-1.0).linear([[-1e9]]).relu().build()
    box, point = _point(1 + 2.0**-12)
    fused = _Net().linear([[1 + 2.0**-12]]).shift(-1 - 2.0**-11).relu().build()
    tie = _Net().linear([[0.0], [2.0**-30]], [1.0, 1.0]).build()
    ties = bounds.Spec(torch.tensor([[[-1.0, 1.0]]]).double(), torch.zeros(1, 1).double())
    region = bounds.Box(*(torch.tensor([[end]], dtype=torch.float64) for end in (0.3, 0.4)))
    return [
        _case("long sum", "2^24 + 1 + ... + 1", many, (1.0, -100.0), (1.0, 1.0), 1.0, _one_by_one),
        _case("overflow", "3e38 + 3e38 - 3e38 - 3e38", over, (-1.0, 1.0), (1.0, 1.01), 1.0, _from_the_left),
        _case("flat sigmoid", "1e9 (1 - sigmoid(20 + x))", flat, (-1.0, 1.0)),
        _case("flat tanh", "1e9 (1 - tanh(10 + x))", steep, (-1.0, 1.0)),
        _case("rounded product", "(1 + 2^-12)^2 - (1 + 2^-11)", fused, (-1.0, 2.0**-25), box, point),
        Deception("tied classes", "logits 1 and 1 + 2^-30 x", tie, region, ties, torch.tensor([0.35])),
    ]


def boundary(seed: int, missing: float = 2.0**-40) -> Deception:
    """A random network that misses its property by so little (Jia & Rinard 2021: next to the largest
    perturbation that a verifier accepts lies one that it should not accept)."""
    g = torch.Generator().manual_seed(seed)
    net = _Net()
    for width, fan_in in ((6, 1), (6, 6), (1, 6)):
        net.then(Linear(), torch.randn(width, fan_in, generator=g), torch.randn(width, generator=g))
        net = net.relu() if width > 1 else net
    graph = net.build()
    ends = [Fraction(float(torch.rand((), generator=g, dtype=torch.float64)))] * 2
    ends[1] = ends[0] + Fraction(1, 2**12)
    least = exactly.least(graph, ends[0], ends[1], [Fraction(1)], Fraction(0))
    at = min(ends, key=lambda end: exactly.value(graph, [end])[0])
    offset = math.nextafter(float(-least - Fraction(missing)), -math.inf)  # never above -least
    box, how = (float(ends[0]), float(ends[1])), f"misses by {missing:.1g} (Jia & Rinard)"
    return _case(f"boundary {seed}", how, graph, (1.0, offset), box, float(at))


def deceptions() -> list[Deception]:
    """All of them but ``boundary``, of which there are as many as one likes."""
    return [*_large_and_small(), *_sums_and_ranges()]
