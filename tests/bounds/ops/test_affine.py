"""What every affine operator must hold, checked on its dense matrix in float64 (rung 4)."""

from collections.abc import Iterator
from inspect import isabstract
from math import prod

import pytest
import torch
from torch import Tensor

from bounds.graph import Builder
from bounds.kinds import Affine, Operator
from bounds.linear import Coefficients, Patch, Shape, Unit, dense
from bounds.ops.shape import Reshape
from bounds.ops.slicing import Slice
from bounds.rounding import U32, gamma

from .cases import Case, cases

CASES = cases()
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def subclasses(kind: type[Operator]) -> Iterator[type[Operator]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("bounds.ops.") and not isabstract(child):
            yield child
        yield from subclasses(child)


def test_every_affine_operator_has_a_case() -> None:
    covered = {type(case.op) for case in CASES}
    missing = {kind.__name__ for kind in subclasses(Affine) if kind not in covered}
    assert not missing, f"add cases to tests/bounds/ops/cases.py for {missing}"


class Sample:
    """A case with its parameters in float64, its output shape, and random numbers of its own."""

    def __init__(self, case: Case) -> None:
        self.case, self.op, self.ins = case, case.op, case.ins
        self.g = torch.Generator().manual_seed(7)
        self.single = case.params
        self.params = tuple(p.double() for p in case.params)
        self.weights = self.op.weights(self.params)
        self.xs = tuple(self.draw(3, *shape) for shape in self.ins)
        self.out: Shape = tuple(self.op.linear(self.xs, self.weights).shape[1:])

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.g, dtype=torch.float64)

    def matrix(self) -> Tensor:
        """W as (outputs, inputs), from the Jacobian of ``linear``, all inputs side by side."""
        zeros = tuple(torch.zeros(shape, dtype=torch.float64) for shape in self.ins)
        parts = torch.func.jacrev(
            lambda xs: self.op.linear(tuple(x[None] for x in xs), self.weights)[0].flatten()
        )(zeros)
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def offset(self) -> Tensor:
        offset = self.op.offset(self.params)
        return torch.zeros(self.out, dtype=torch.float64) if offset is None else offset.expand(self.out)

    def patch(self, height: int, width: int, rows: int = 24) -> Patch:
        """Random windows, some of them over the edge, where their coefficients are zero."""
        top = torch.randint(-height, self.out[1] + 1, (rows,), generator=self.g)
        left = torch.randint(-width, self.out[2] + 1, (rows,), generator=self.g)
        return Patch(self.draw(rows, self.out[0], height, width), top, left, self.out).masked()


@pytest.fixture(params=CASES, ids=lambda case: f"{case.op!r}-{case.ins}")
def sample(request: pytest.FixtureRequest) -> Sample:
    return Sample(request.param)


def test_value_is_the_matrix_plus_the_offset(sample: Sample) -> None:
    flat = torch.cat([x.flatten(1) for x in sample.xs], dim=1)
    expected = (flat @ sample.matrix().T).view(-1, *sample.out) + sample.offset()
    scale = float(sample.matrix().abs().max()) + float(sample.offset().abs().max())
    got = sample.op.value(sample.xs, sample.params)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12 * (1 + scale))


def test_samples_stay_apart(sample: Sample) -> None:
    together = sample.op.value(sample.xs, sample.params)
    for i, y in enumerate(together):
        alone = sample.op.value(tuple(x[i : i + 1] for x in sample.xs), sample.params)
        torch.testing.assert_close(alone[0], y, **EXACT)


def test_shape_is_inferred(sample: Sample) -> None:
    builder = Builder((sum(prod(shape) for shape in sample.ins),))
    refs, start = [], 0
    for shape in sample.ins:
        part = builder.apply(Slice(0, range(start, start + prod(shape))), [builder.input])
        refs.append(builder.apply(Reshape(shape), [part]))
        start += prod(shape)
    assert builder.apply(sample.op, refs, sample.params).shape == sample.out


def test_adjoint_is_the_vjp(sample: Sample) -> None:
    rows = sample.draw(4, *sample.out)
    fast = sample.op.adjoint(rows, sample.weights, sample.ins)
    slow = Affine.adjoint(sample.op, rows, sample.weights, sample.ins)
    assert len(fast) == len(slow) == len(sample.ins)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize(("count", "grad"), [(4, True), (40, False)])
def test_adjoint_is_the_transposed_matrix(sample: Sample, count: int, grad: bool) -> None:
    rows = sample.draw(count, *sample.out)
    expected = rows.flatten(1) @ sample.matrix()
    with torch.set_grad_enabled(grad):
        parts = sample.op.adjoint(rows, sample.weights, sample.ins)
    got = torch.cat([a.flatten(1) for a in parts], dim=1)
    torch.testing.assert_close(got, expected, **EXACT)


def same_rows(sample: Sample, got: tuple[Coefficients, ...], rows: Tensor) -> None:
    for a, b in zip(got, sample.op.adjoint(rows, sample.weights, sample.ins), strict=True):
        torch.testing.assert_close(dense(a), b, **EXACT)


def test_adjoint_unit_equals_dense(sample: Sample) -> None:
    index = torch.arange(prod(sample.out))
    unit = Unit(index, sample.draw(len(index)), sample.out)
    got = sample.op.adjoint_unit(unit, sample.weights, sample.ins, sample.out)
    assert (got is not None) == sample.case.unit
    if got is not None:
        same_rows(sample, got, unit.dense())


@pytest.mark.parametrize(
    ("window", "grad"), [((1, 1), False), ((2, 3), True), ((3, 1), False), ((4, 4), True), ((4, 4), False)]
)
def test_adjoint_patch_equals_dense(sample: Sample, window: tuple[int, int], grad: bool) -> None:
    if len(sample.out) != 3:
        assert not sample.case.patch
        return
    patch = sample.patch(*window)
    with torch.set_grad_enabled(grad):
        got = sample.op.adjoint_patch(patch, sample.weights, sample.ins, sample.out)
    assert (got is not None) == sample.case.patch
    if got is None:
        return
    same_rows(sample, got, patch.dense())
    for part in got:
        assert torch.equal(part.data, part.masked().data), "coefficients outside the image must be zero"


def test_magnitudes_dominate(sample: Sample) -> None:
    xs = tuple(x.abs() for x in sample.xs)
    flat = torch.cat([x.flatten(1) for x in xs], dim=1)
    expected = flat @ sample.matrix().abs().T
    got = sample.op.absolute(xs, sample.op.magnitudes(sample.params)).flatten(1)
    torch.testing.assert_close(got, expected, **EXACT)
    magnitude = sample.op.offset_magnitude(sample.params)
    offset = sample.offset()
    if magnitude is None:
        assert not offset.any()
    else:
        assert (magnitude.expand(sample.out) >= offset.abs()).all()


def test_exact_operators_only_move_values(sample: Sample) -> None:
    matrix = sample.matrix()
    entries = (matrix != 0).to(torch.int64)
    if sample.op.exact:
        assert sample.op.offset(sample.params) is None
        assert ((matrix.abs() == 1) | (matrix == 0)).all()
        assert entries.sum(0).max() <= 1 and entries.sum(1).max() <= 1
        assert sample.op.terms(sample.ins, sample.out, sample.params) == 0
    if sample.op.elementwise:
        assert sample.ins == (sample.out,)
        assert (matrix == matrix.diagonal().diag()).all()


def test_rising_operators_have_no_negative_coefficient(sample: Sample) -> None:
    assert not sample.op.rising or (sample.matrix() >= 0).all()


def test_fresh_values_may_be_overwritten(sample: Sample) -> None:
    if not sample.op.fresh:
        return
    given = [*sample.xs, *sample.params, *(magnitudes := sample.op.magnitudes(sample.params))]
    copies = [x.clone() for x in given]
    sample.op.value(sample.xs, sample.params).fill_(7.0)
    sample.op.absolute(sample.xs, magnitudes).fill_(7.0)
    assert all(torch.equal(now, before) for now, before in zip(given, copies, strict=True))


def test_terms_cover_the_longest_sums(sample: Sample) -> None:
    """An interval step adds 4 to ``terms`` and 2 to ``fan_in``; the offset is one more term."""
    if sample.op.exact:
        return
    entries = sample.matrix() != 0
    forward, backward = int(entries.sum(1).max()), int(entries.sum(0).max())
    has_offset = int(sample.op.offset(sample.params) is not None)
    assert sample.op.terms(sample.ins, sample.out, sample.params) + 4 >= max(forward + has_offset, backward)
    assert sample.op.fan_in(sample.ins, sample.out, sample.params) + 2 >= forward + has_offset
    assert sample.op.fan_out(sample.ins, sample.out, sample.params) >= backward - 1


def test_rounding_account_holds_in_float32(sample: Sample) -> None:
    """The error of float32, measured against float64, stays within ``gamma(terms + 4) * magnitude``."""
    op = sample.op
    xs = tuple(x.float() for x in sample.xs)
    magnitude = op.absolute(tuple(x.double().abs() for x in xs), op.magnitudes(sample.params))
    extra = op.offset_magnitude(sample.params)
    magnitude = magnitude if extra is None else magnitude + extra
    exact = op.value(tuple(x.double() for x in xs), sample.params)
    error = (op.value(xs, sample.single).double() - exact).abs()
    n = op.terms(sample.ins, sample.out, sample.params) + 4
    assert (error <= gamma(n, U32) * magnitude).all()
    n = op.fan_in(sample.ins, sample.out, sample.params) + 2
    assert (error <= gamma(n, U32) * magnitude).all()


def test_rounding_account_holds_backward(sample: Sample) -> None:
    """The same on the way back, where rows may be of any scale: each adjoint, against its own in float64."""
    op, single = sample.op, sample.op.weights(sample.single)
    scales = 10.0 ** torch.randint(-9, 10, (40, *sample.out), generator=sample.g)
    rows = (sample.draw(40, *sample.out) * scales).float()
    wide = rows.double()
    zeros = tuple(torch.zeros(40, *shape, dtype=torch.float64) for shape in sample.ins)
    _, vjp = torch.func.vjp(lambda *xs: op.absolute(xs, op.magnitudes(sample.params)), *zeros)
    n = op.fan_out(sample.ins, sample.out, sample.params) + 8
    ways = [op.adjoint(rows, single, sample.ins)]
    if len(sample.out) == 3:
        zero = torch.zeros(40, dtype=torch.int64)
        apart = (
            rows.transpose(0, 1).contiguous().transpose(0, 1)
        )  # windows that are cut out need not lie in order
        found = op.adjoint_patch(Patch(apart, zero, zero, sample.out), single, sample.ins, sample.out)
        ways += [] if found is None else [tuple(dense(part) for part in found)]
    for way in ways:
        exact = op.adjoint(wide, sample.weights, sample.ins)
        for got, right, magnitude in zip(way, exact, vjp(wide.abs()), strict=True):
            assert ((got.double() - right).abs() <= gamma(n, U32) * magnitude + 2.0**-120).all()
