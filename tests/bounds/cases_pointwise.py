"""Instances and exact forms of every pointwise operator; the grid check walks this table."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import mpmath
import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.ops.convex import ELU, Cosh, Exp, Exp2, Expm1, Exponential, Log, Log1p, Log2, LogSigmoid, Softplus
from bounds.ops.derivative import Bell, Derivative, Slopes
from bounds.ops.gates import GELU, ErfGate, HardSwish, Mish, SiLU, TanhGELU
from bounds.ops.power import Power
from bounds.ops.relu import Abs, Clip, LeakyReLU, PReLU
from bounds.ops.segments import Shrink, Threshold
from bounds.ops.sshape import Asinh, Atan, Erf, Sigmoid, Sinh, Softsign, Tan, Tanh, Tanhshrink
from bounds.ops.stairs import Ceil, Floor, Round, Sign, Step, Trunc
from bounds.ops.trig import Cos, MinusSin, Sin
from bounds.piecewise import Piecewise

Exact = Callable[[mpmath.mpf], mpmath.mpf]
Domain = Callable[[Tensor], Tensor]
INF = float("inf")


def anywhere(ends: Tensor) -> Tensor:
    return ends


def positive(ends: Tensor) -> Tensor:
    return ends.abs() + 1e-9


def nonnegative(ends: Tensor) -> Tensor:
    return torch.where(ends.abs() < 1e-3, 0.0, ends.abs())


def above_minus_one(ends: Tensor) -> Tensor:
    return ends.abs() - 1 + 1e-6


def one_branch(ends: Tensor) -> Tensor:
    """Both ends on the side of zero that the first is on."""
    return torch.copysign(ends.abs() + 1e-3, ends[0])


def within_a_period(ends: Tensor) -> Tensor:
    return 1.57 * ends / (1 + ends.abs())


@dataclass(frozen=True)
class Case:
    """An operator, its exact form and the places to look at besides its breaks.

    domain: maps the ends of any interval, (2, count), into where the operator is defined.
    """

    op: Pointwise
    exact: Exact
    domain: Domain = anywhere
    marks: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """For test names."""
        slope = (
            f"({float(self.op.slope)})" if isinstance(self.op, PReLU) and self.op.slope is not None else ""
        )
        return f"{self.op!r}{slope}"

    @property
    def places(self) -> tuple[float, ...]:
        """Breaks and marks."""
        return (*(self.op.breaks if isinstance(self.op, Piecewise) else ()), *self.marks)

    def intervals(self, x: Interval) -> Interval:
        """Any intervals moved into the domain."""
        ends = self.domain(torch.stack([x.lower, x.upper])).sort(0).values
        return Interval(ends[0], ends[1])


def leaky(slope: float) -> Exact:
    return lambda z: z if z > 0 else z * mpmath.mpf(slope)


def clip(low: float, high: float) -> Exact:
    return lambda z: min(max(z, mpmath.mpf(low)), mpmath.mpf(high))


def elu(alpha: float, scale: float, rate: float) -> Exact:
    a, s, r = map(mpmath.mpf, (alpha, scale, rate))
    return lambda z: s * z if z > 0 else s * a * mpmath.expm1(z / r)


def softplus(beta: float, threshold: float) -> Exact:
    b, t = mpmath.mpf(beta), mpmath.mpf(threshold)
    return lambda z: z if b * z > t else mpmath.log1p(mpmath.exp(b * z)) / b


def erf_gate(width: float) -> Exact:
    return lambda z: z * mpmath.erfc(-z / mpmath.mpf(width))


def tanh_gelu(z: mpmath.mpf) -> mpmath.mpf:
    inner = mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3)
    return z * (1 + mpmath.tanh(inner)) / 2


def shrink(width: float, bias: float) -> Exact:
    b = mpmath.mpf(bias)
    return lambda z: z - b if z > width else z + b if z < -width else mpmath.mpf(0)


def power(exponent: float) -> Exact:
    return lambda z: z ** (int(exponent) if exponent == int(exponent) else mpmath.mpf(exponent))


def jump(at: float, left: float, right: float) -> Exact:
    return lambda z: mpmath.mpf(right if z > at else left)


def rounded(z: mpmath.mpf) -> mpmath.mpf:
    return mpmath.mpf(round(Fraction(int(z * 2**200), 2**200)))


def exponential(base: float) -> Exact:
    return lambda z: mpmath.mpf(base) ** z


SELU = (1.6732632423543772, 1.0507009873554805)
INTEGERS = tuple(float(k) for k in range(-70, 71))
HALVES = tuple(k + 0.5 for k in INTEGERS)

CASES: list[Case] = [
    Case(LeakyReLU(), leaky(0.0)),
    *(Case(LeakyReLU(slope), leaky(slope)) for slope in (0.1, float(Fraction(1, 3)), -0.7, 1.8)),
    Case(Abs(), abs),
    *(
        Case(PReLU(torch.tensor(slope, dtype=torch.float64)), leaky(slope), marks=(0.0,))
        for slope in (0.25, -0.5, 2.0)
    ),
    Case(Clip(0.0, 6.0), clip(0.0, 6.0)),
    Case(Clip(-1.0, 1.0), clip(-1.0, 1.0)),
    Case(Clip(0.25, INF), clip(0.25, INF)),
    Case(Clip(-INF, 0.5), clip(-INF, 0.5)),
    Case(Threshold(0.1, 0.0), lambda z: z if z > 0.1 else mpmath.mpf(0), marks=(0.1,)),
    Case(Threshold(-1.0, 3.0), lambda z: z if z > -1 else mpmath.mpf(3), marks=(-1.0,)),
    Case(Shrink(0.5, 0.5), shrink(0.5, 0.5), marks=(-0.5, 0.5)),
    Case(Shrink(0.3, 0.0), shrink(0.3, 0.0), marks=(-0.3, 0.3)),
    Case(Sigmoid(), lambda z: 1 / (1 + mpmath.exp(-z))),
    Case(Tanh(), mpmath.tanh),
    Case(Softsign(), lambda z: z / (1 + abs(z))),
    Case(Atan(), mpmath.atan),
    Case(Asinh(), mpmath.asinh),
    Case(Erf(), mpmath.erf),
    Case(Sinh(), mpmath.sinh),
    Case(Tan(), mpmath.tan, within_a_period),
    Case(Exp(), mpmath.exp),
    Case(Expm1(), mpmath.expm1),
    Case(Exp2(), lambda z: mpmath.mpf(2) ** z),
    *(Case(Exponential(base), exponential(base)) for base in (2.0, 0.3, 1.0009765625, 50.0)),
    Case(Cosh(), mpmath.cosh),
    Case(Log(), mpmath.log, positive),
    Case(Log2(), lambda z: mpmath.log(z) / mpmath.log(2), positive),
    Case(Log1p(), mpmath.log1p, above_minus_one),
    Case(LogSigmoid(), lambda z: -mpmath.log1p(mpmath.exp(-z))),
    Case(ELU(), elu(1, 1, 1)),
    Case(ELU(0.3), elu(0.3, 1, 1)),
    Case(ELU(2.5), elu(2.5, 1, 1)),
    Case(ELU(*SELU), elu(*SELU, 1)),
    Case(ELU(1.7, 1.0, 1.7), elu(1.7, 1, 1.7)),
    Case(Softplus(), softplus(1, INF)),
    Case(Softplus(1.0, 20.0), softplus(1, 20)),
    Case(Softplus(2.7, 9.0), softplus(2.7, 9)),
    Case(GELU(), lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2),
    *(Case(ErfGate(w), erf_gate(w)) for w in (1.41421354, 0.8, 3.0)),
    Case(TanhGELU(), tanh_gelu),
    Case(Tanhshrink(), lambda z: z - mpmath.tanh(z)),
    Case(SiLU(), lambda z: z / (1 + mpmath.exp(-z))),
    Case(Mish(), lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z)))),
    Case(HardSwish(), lambda z: z * min(max(z + 3, mpmath.mpf(0)), mpmath.mpf(6)) / 6),
    *(Case(Power(float(n)), power(n)) for n in (2, 3, 4)),
    *(Case(Power(float(n)), power(n), one_branch) for n in (-1, -2, -3)),
    *(Case(Power(p), power(p), nonnegative) for p in (0.5, 1.5, 0.3, 2.25)),
    *(Case(Power(p), power(p), positive) for p in (-0.5, -1.25)),
    Case(Sin(), mpmath.sin, marks=(-1.5707963267948966, 1.5707963267948966, 3.141592653589793)),
    Case(Cos(), mpmath.cos, marks=(0.0, 3.141592653589793, 6.283185307179586)),
    Case(MinusSin(), lambda z: -mpmath.sin(z), marks=(-1.5707963267948966, 1.5707963267948966)),
    Case(Floor(), mpmath.floor, marks=INTEGERS),
    Case(Ceil(), mpmath.ceil, marks=INTEGERS),
    Case(Round(), rounded, marks=HALVES),
    Case(Trunc(), lambda z: mpmath.floor(z) if z > 0 else mpmath.ceil(z), marks=INTEGERS),
    Case(Sign(), lambda z: mpmath.mpf(mpmath.sign(z)), marks=(0.0,)),
    Case(Step(closed=True), lambda z: mpmath.mpf(1 if z >= 0 else 0), marks=(0.0,)),
    Case(Step(closed=False), lambda z: mpmath.mpf(1 if z > 0 else 0), marks=(0.0,)),
    Case(Derivative(LeakyReLU()), jump(0.0, 0.0, 1.0), marks=(0.0,)),
    Case(Derivative(LeakyReLU(0.1)), jump(0.0, 0.1, 1.0), marks=(0.0,)),
    Case(Slopes(PReLU(torch.tensor(-0.5, dtype=torch.float64))), jump(0.0, -0.5, 1.0), marks=(0.0,)),
    Case(Slopes(Threshold(0.1, 0.1)), jump(0.1, 0.0, 1.0), marks=(0.1,)),
    Case(Slopes(Shrink(0.3, 0.3)), lambda z: mpmath.mpf(not -0.3 < z <= 0.3), marks=(-0.3, 0.3)),
    Case(Derivative(Clip(0.25, INF)), jump(0.25, 0.0, 1.0), marks=(0.25,)),
    Case(Derivative(Clip(-1.0, 1.0)), lambda z: mpmath.mpf(-1 < z <= 1), marks=(-1.0, 1.0)),
    Case(Derivative(Sigmoid()), lambda z: mpmath.sech(z / 2) ** 2 / 4, marks=(0.0,)),
    Case(Bell(1.0, 1.0), lambda z: mpmath.sech(z / 2) ** 2 / 4),
    Case(Bell(4.0, 2.0), lambda z: mpmath.sech(z) ** 2),
]
