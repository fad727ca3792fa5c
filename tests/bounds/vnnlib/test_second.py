"""VNN-LIB 2.0 beside the same property in 1.0, and what is refused."""

import re
import sys
from pathlib import Path

import pytest
import torch

from bounds.errors import InvalidFile, Unsupported
from bounds.vnnlib import read_vnnlib

HEAD = "(vnnlib-version <2.0>)\n"
NETWORK = "(declare-network f (declare-input X float32 [1,2,2]) (declare-output Y float32 [3]))\n"
FIRST = "".join(f"(declare-const {v} Real)\n" for v in ("X_0", "X_1", "X_2", "X_3", "Y_0", "Y_1", "Y_2"))
UNIT = "".join(f"(assert (>= X_{i} -0.1))\n(assert (<= X_{i} {i}.3))\n" for i in range(4))
BODIES = [
    UNIT + "(assert (<= Y_0 Y_1))\n(assert (> Y_2 0.25))\n",
    UNIT + "(assert (or (<= Y_0 Y_1) (and (>= Y_2 1.5) (< Y_1 0.1))))\n",
    UNIT + "(assert (<= (+ (* 2.0 Y_0) (- Y_1) (- Y_2 0.7 Y_0)) 0.001))\n",
    "(assert (or (and (>= X_0 0.0) (<= X_0 1.0)) (and (>= X_0 2.0) (<= X_0 3.0))))\n"
    + UNIT.split("\n", 2)[2]
    + "(assert (>= Y_1 0.3))\n",
]


def second(body: str) -> str:
    """The same with the variables of version 2.0."""
    body = re.sub(r"X_(\d)", lambda m: f"X[0,{int(m[1]) // 2},{int(m[1]) % 2}]", body)
    return HEAD + NETWORK + re.sub(r"Y_(\d)", r"Y[\1]", body)


def read(folder: Path, text: str):
    path = folder / "p.vnnlib"
    path.write_text(text)
    return read_vnnlib(path)


@pytest.mark.parametrize("body", BODIES)
def test_both_versions_say_the_same(tmp_path: Path, body: str) -> None:
    region, spec = read(tmp_path, FIRST + body)
    again, asked = read(tmp_path, second(body))
    assert torch.equal(region.lower, again.lower)
    assert torch.equal(region.upper, again.upper)
    assert torch.equal(spec.matrix, asked.matrix)
    assert torch.equal(spec.offset, asked.offset)
    assert (spec.clause is None) == (asked.clause is None)
    assert spec.clause is None or torch.equal(spec.clause, asked.clause)


def test_an_equation_is_two_inequalities(tmp_path: Path) -> None:
    _, spec = read(tmp_path, second(UNIT + "(assert (== Y_0 Y_1))\n"))
    _, pair = read(tmp_path, FIRST + UNIT + "(assert (<= Y_0 Y_1))\n(assert (>= Y_0 Y_1))\n")
    assert torch.equal(spec.matrix, pair.matrix)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (HEAD + "(assert", InvalidFile, "not VNN-LIB 2.0"),
        (second("(assert (<= X[0,0,5] 1.0))"), InvalidFile, "IndexOutOfBounds"),
        (second(UNIT + "(assert (!= Y_0 Y_1))"), Unsupported, "NotEqual"),
        (second(UNIT + "(assert (<= (* Y_0 Y_1) 1.0))"), Unsupported, "multiplies"),
        (
            HEAD
            + NETWORK
            + NETWORK.replace(" f ", " g ").replace("X", "U").replace("Y", "V")
            + "(assert (<= Y[0] 1.0))",
            Unsupported,
            "2 networks",
        ),
        (second("(assert (<= Y_0 1.0))"), InvalidFile, "no lower bound"),
    ],
)
def test_refusals(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        read(tmp_path, text)


def test_without_the_parser_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vnnlib", None)
    with pytest.raises(Unsupported, match=r"certify-bounds\[vnnlib\]"):
        read(tmp_path, second(BODIES[0]))
