"""Properties against brute-force evaluation of the formula in rationals, and files that must be refused."""

import gzip
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds.errors import BoundsError, InvalidFile, Unsupported
from bounds.sets import Box
from bounds.spec import Spec
from bounds.vnnlib import property as prop
from bounds.vnnlib import read_vnnlib, syntax

INPUTS, OUTPUTS = 2, 2
DECLARATIONS = "".join(f"(declare-const {v} Real)\n" for v in ("X_0", "X_1", "Y_0", "Y_1"))
UNIT = "".join(f"(assert (>= X_{i} -1.0))\n(assert (<= X_{i} 1.0))\n" for i in range(INPUTS))

Point = dict[str, Fraction]
# A formula as text and as a function of a point.
Formula = tuple[str, Callable[[Point], bool]]
Term = tuple[str, Callable[[Point], Fraction]]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], tuple[Box, Spec]]:
    def write_and_read(text: str) -> tuple[Box, Spec]:
        path = tmp_path / "p.vnnlib"
        path.write_text(text)
        return read_vnnlib(path)

    return write_and_read


def unsafe(region: Box, spec: Spec, x: list[Fraction], y: list[Fraction]) -> bool:
    """Whether some sample has the point in its box and its output in the violation."""
    inside = region.contains(torch.tensor([[float(v) for v in x]] * len(region)).double())
    outputs = torch.tensor([[float(v) for v in y]] * len(region), dtype=torch.float64)
    return bool((inside & (spec.worst(spec.evaluate(outputs)) <= 0)).any())


quarters = st.integers(-8, 8).map(lambda n: Fraction(n, 4))


def number(value: Fraction) -> Term:
    return str(float(value)), lambda _: value


def variable(name: str) -> Term:
    return name, lambda point: point[name]


def linear(weights: list[Fraction], constant: Fraction) -> Term:
    """A sum with products on either side, a difference and a nested sum."""
    a, b = weights
    text = f"(+ (* {float(a)} Y_0) (- (* Y_1 {float(b)}) {float(constant)}) (- (- 0.5) -0.5))"
    return text, lambda p: a * p["Y_0"] + b * p["Y_1"] - constant


def atom(sign: str, left: Term, right: Term) -> Formula:
    def holds(point: Point) -> bool:
        a, b = left[1](point), right[1](point)
        return a <= b if sign == "<=" else a >= b

    return f"({sign} {left[0]} {right[0]})", holds


def join(word: str, parts: list[Formula]) -> Formula:
    combine = all if word == "and" else any
    text = f"({word} {' '.join(text for text, _ in parts)})"
    return text, lambda point: combine(holds(point) for _, holds in parts)


signs = st.sampled_from(["<=", ">="])
inputs = st.sampled_from(["X_0", "X_1"]).map(variable)
outputs = st.sampled_from(["Y_0", "Y_1"]).map(variable)
sums = st.builds(linear, st.lists(quarters, min_size=2, max_size=2), quarters)
numbers = quarters.map(number)
atoms = st.one_of(
    st.builds(atom, signs, inputs, numbers),
    st.builds(atom, signs, numbers, inputs),
    st.builds(atom, signs, outputs, numbers | outputs | sums),
    st.builds(atom, signs, sums, numbers | sums),
)
formulas = st.recursive(
    atoms,
    lambda inner: st.builds(join, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=10,
)
points = st.lists(quarters, min_size=4, max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(formulas, min_size=1, max_size=3), st.lists(points, min_size=12, max_size=12))
def test_a_point_is_unsafe_iff_the_formula_says_so(
    tmp_path_factory: pytest.TempPathFactory, asserted: list[Formula], grid: list[list[Fraction]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.vnnlib"
    path.write_text(DECLARATIONS + UNIT + "".join(f"(assert {text})\n" for text, _ in asserted))

    def expected(values: list[Fraction]) -> bool:
        point = dict(zip(("X_0", "X_1", "Y_0", "Y_1"), values, strict=True))
        return all(abs(v) <= 1 for v in values[:INPUTS]) and all(holds(point) for _, holds in asserted)

    try:
        region, spec = read_vnnlib(path)
    except InvalidFile as error:
        assert "no input satisfies" in str(error)
        assert not any(map(expected, grid))
        return
    for values in grid:
        assert unsafe(region, spec, values[:INPUTS], values[INPUTS:]) == expected(values)


@settings(max_examples=100, deadline=None)
@given(st.decimals(-100, 100, places=18), st.decimals(0, 1, places=18))
def test_decimals_round_outward_to_adjacent_floats(
    tmp_path_factory: pytest.TempPathFactory, low: Fraction, width: Fraction
) -> None:
    path = tmp_path_factory.getbasetemp() / "decimal.vnnlib"
    high = low + width
    path.write_text(
        "(declare-const X_0 Real) (declare-const Y_0 Real)"
        f"(assert (and (>= X_0 {low:f}) (>= {high:f} X_0) (>= Y_0 {high:f})))"
    )
    region, spec = read_vnnlib(path)
    inf = torch.tensor(torch.inf, dtype=torch.float64)
    lower, upper, offset = region.lower[0, 0], region.upper[0, 0], spec.offset[0, 0]
    assert Fraction(lower.item()) <= Fraction(low) < Fraction(torch.nextafter(lower, inf).item())
    assert Fraction(torch.nextafter(upper, -inf).item()) < Fraction(high) <= Fraction(upper.item())
    # unsafe is high - Y_0 <= 0: a smaller offset makes the safe property harder
    assert Fraction(offset.item()) <= Fraction(high) < Fraction(torch.nextafter(offset, inf).item())
    assert spec.matrix.tolist() == [[[-1.0]]]


def test_disjuncts_with_one_box_share_a_sample(read: Callable[[str], tuple[Box, Spec]]) -> None:
    region, spec = read(
        DECLARATIONS
        + UNIT
        + """(assert (or (and (<= X_0 0.5) (>= Y_0 Y_1)) (and (<= X_0 0.5) (>= Y_0 2) (<= Y_1 1))
                        (and (>= X_0 0.75) (<= Y_0 0))))"""
    )
    assert region.upper.tolist() == [[0.5, 1.0], [1.0, 1.0]]
    assert region.lower.tolist() == [[-1.0, -1.0], [0.75, -1.0]]
    assert spec.clause is not None
    assert spec.clause.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert spec.matrix[0].tolist() == [[-1.0, 1.0], [-1.0, 0.0], [0.0, 1.0]]
    assert spec.offset.tolist() == [[0.0, 2.0, -1.0], [0.0, 0.0, 0.0]]


def test_inexact_coefficients_are_scaled_to_integers(read: Callable[[str], tuple[Box, Spec]]) -> None:
    _, spec = read(DECLARATIONS + UNIT + "(assert (<= (+ (* 0.1 Y_0) (* -0.3 Y_1)) 0.7))")
    assert spec.matrix.tolist() == [[[1.0, -3.0]]]
    assert spec.offset.tolist() == [[-7.0]]


def test_a_tie_of_a_strict_comparison_counts_as_unsafe(read: Callable[[str], tuple[Box, Spec]]) -> None:
    region, spec = read(DECLARATIONS + UNIT + "(assert (< Y_0 Y_1))")
    one = Fraction(1)
    assert unsafe(region, spec, [one, one], [one, one])
    assert not unsafe(region, spec, [one, one], [one + Fraction(1, 2**20), one])


def test_without_output_constraints_every_output_is_unsafe(read: Callable[[str], tuple[Box, Spec]]) -> None:
    region, spec = read(DECLARATIONS + UNIT)
    assert unsafe(region, spec, [Fraction(0)] * 2, [Fraction(7)] * 2)


def test_comparisons_without_variables_are_decided_exactly(
    read: Callable[[str], tuple[Box, Spec]],
) -> None:
    text = DECLARATIONS + UNIT + "(assert (or (and (< Y_0 Y_0) (>= Y_1 0)) (and (<= 1 2) (>= Y_1 3))))"
    _, spec = read(text)
    assert spec.matrix.tolist() == [[[0.0, -1.0]]]
    assert spec.offset.tolist() == [[3.0]]


def test_gzip_comments_and_layout_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib.gz"
    text = DECLARATIONS.replace(" ", "\n\t ") + UNIT + "; (assert (\n(assert(or(>= Y_0 1)(and(<= 2 Y_1))))"
    path.write_bytes(gzip.compress(text.encode()))
    _, spec = read_vnnlib(path)
    assert spec.matrix.tolist() == [[[-1.0, 0.0], [0.0, -1.0]]]
    assert spec.offset.tolist() == [[1.0, 2.0]]


REFUSED = [
    ("", InvalidFile, "X_0"),
    ("(assert (<= X_0 1.0))", InvalidFile, "line 1: X_0 is neither"),
    (DECLARATIONS, InvalidFile, "X_0 has no lower bound"),
    (DECLARATIONS + "(assert (and (>= X_0 0) (>= X_1 0) (<= X_0 1)))", InvalidFile, "X_1 has no upper bound"),
    (DECLARATIONS + UNIT + "(assert (>= X_0 2))", InvalidFile, "no input satisfies"),
    (DECLARATIONS + UNIT + "(assert (>= 0 1))", InvalidFile, "no input satisfies"),
    (DECLARATIONS + UNIT + "(assert (<= X_0 X_1))", Unsupported, "line 9: (<= X_0 X_1) mixes several"),
    (DECLARATIONS + UNIT + "(assert (<= X_0 Y_0))", Unsupported, "inputs with outputs"),
    (DECLARATIONS + UNIT + "(assert (<= (* Y_0 Y_1) 0))", Unsupported, "(* Y_0 Y_1) multiplies"),
    (DECLARATIONS + UNIT + "(assert (<= (/ Y_0 3) 0))", Unsupported, "(/ Y_0 3) is not a linear term"),
    (DECLARATIONS + UNIT + "(assert (=> (<= Y_0 0) (<= Y_1 0)))", InvalidFile, "is not a comparison"),
    (DECLARATIONS + UNIT + "(assert (<= Y_0 0 1))", InvalidFile, "is not a comparison"),
    (DECLARATIONS + UNIT + "(assert ())", InvalidFile, "is not a comparison"),
    (DECLARATIONS + UNIT + "(assert (and))", InvalidFile, "(and) is not a comparison"),
    (DECLARATIONS + UNIT + "(assert (<= Y_0 nan))", InvalidFile, "nan is neither"),
    (DECLARATIONS + UNIT + "(assert (<= Y_0 1e400))", InvalidFile, "beyond float64"),
    (DECLARATIONS + UNIT + "(assert (<= Y_0 1e99999999))", InvalidFile, "1e99999999 is neither"),
    (DECLARATIONS + UNIT + f"(assert (<= Y_0 {'9' * 9999}))", InvalidFile, "is neither"),
    (DECLARATIONS + UNIT + f"(assert (<= (* 0.{'3' * 30} Y_0) 1))", Unsupported, "exact in float64"),
    (DECLARATIONS + "(declare-const X_0 Real)", InvalidFile, "line 5: X_0 is declared twice"),
    (DECLARATIONS + "(declare-const X_3 Real)", InvalidFile, "without gaps"),
    (DECLARATIONS + "(declare-const X_00 Real)", Unsupported, "X_00"),
    (DECLARATIONS + "(declare-const X_2 Int)", Unsupported, "(declare-const X_2 Int) is not known"),
    ("(vnnlib-version <2.0>)", InvalidFile, "not VNN-LIB 2.0"),
    ("hello", Unsupported, "hello is not known"),
    (DECLARATIONS + UNIT + "(assert (<= Y_0 1)", InvalidFile, "line 9: a parenthesis is never closed"),
    (DECLARATIONS + UNIT + "(assert (<= Y_0 1)))", InvalidFile, "line 9: a parenthesis closes"),
    ("(" * 10**6, InvalidFile, "line 1: nested deeper"),
    (
        DECLARATIONS + UNIT + "(assert (or (<= Y_0 0) (>= Y_1 0)))" * 40,
        Unsupported,
        "disjunctive normal form",
    ),
]


@pytest.mark.parametrize(("text", "kind", "words"), REFUSED)
def test_bad_text_is_refused_in_one_line(
    tmp_path: Path, text: str, kind: type[BoundsError], words: str
) -> None:
    path = tmp_path / "bad.vnnlib"
    path.write_text(text)
    with pytest.raises(kind) as caught:
        read_vnnlib(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    good = gzip.compress((DECLARATIONS + UNIT + "(assert (<= Y_0 0))").encode())
    files = {
        "cut.gz": good[:-20],
        "flipped.gz": good[:30] + bytes([good[30] ^ 255]) + good[31:],
        "binary": b"\x08\x07\xff\xfe",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name in (*files, "missing", "."):
        with pytest.raises(InvalidFile) as caught:
            read_vnnlib(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text(DECLARATIONS + UNIT + "(assert (<= Y_0 0))")
    monkeypatch.setattr(prop, "MAX_CELLS", 1)
    with pytest.raises(Unsupported, match="too much memory"):
        read_vnnlib(path)
    monkeypatch.setattr(syntax, "MAX_BYTES", 10)
    with pytest.raises(InvalidFile, match="larger than"):
        read_vnnlib(path)
