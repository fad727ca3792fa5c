"""Proofs of verdicts: the checker accepts them, and there are none of what is false."""

import importlib
import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

import bounds
from bounds.errors import InvalidInput
from bounds.proof import Proof, Refused
from bounds.proof.check import Checker, check
from bounds.proof.file import read
from bounds.proving import prove
from bounds.proving.written import packed, write
from bounds.search import Status, schedule
from bounds.search.search import Search

from ..proof.nets import mlp, two_shifts
from ..search.oracles import least_by_milp

PROVE = importlib.import_module("bounds.proving.prove")
FEW, MANY = (4, 6, 6, 3), (14, 6, 6, 3)


def network(
    widths: tuple[int, ...], seed: int, folder: Path, function: str = "Relu"
) -> tuple[bounds.Graph, bytes]:
    """A random perceptron as a graph and as a file."""
    rng = np.random.default_rng(seed)
    sizes = list(itertools.pairwise(widths))
    weights = [rng.normal(size=(n, m)) * 1.5 * m**-0.5 for m, n in sizes]
    data = mlp(weights, [rng.normal(size=n) * 0.3 for _, n in sizes], function)
    return read_back(data, folder)


def read_back(data: bytes, folder: Path) -> tuple[bounds.Graph, bytes]:
    """A model, with the shape of its output filled in, as the engine and as the checker read it."""
    inferred: bytes = onnx.shape_inference.infer_shapes(onnx.load_from_string(data)).SerializeToString()
    (folder / "net.onnx").write_bytes(inferred)
    return bounds.read_onnx(folder / "net.onnx"), inferred


def question(
    graph: bounds.Graph, seed: int, clause: list[int] | None, batch: int = 1, eps: float = 0.25
) -> tuple[bounds.Box, bounds.Spec]:
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(batch, *graph.input_shape, generator=g, dtype=torch.float64)
    matrix = torch.randn(batch, 3, graph.output_shape[0], generator=g, dtype=torch.float64)
    clauses = None if clause is None else torch.tensor(clause).expand(batch, -1)
    spec = bounds.Spec(matrix, torch.zeros(batch, 3, dtype=torch.float64), clauses)
    return bounds.Box(centre - eps, centre + eps), spec


def shifted(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec, off: float) -> bounds.Spec:
    """With offsets so that the least value of each sample is ``off``."""
    places = [torch.tensor([k]) for k in range(len(region))]
    least = torch.tensor([least_by_milp(graph, region[k], spec[k]) for k in places], dtype=torch.float64)
    return bounds.Spec(spec.matrix, spec.offset + (off - least)[:, None], spec.clause)


@pytest.mark.parametrize("widths", [FEW, MANY], ids=["inputs", "neurons"])
@pytest.mark.parametrize("clause", [None, [0, 0, 1], [0, 0, 0]], ids=["and", "both", "or"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_true_is_proved(
    widths: tuple[int, ...], clause: list[int] | None, seed: int, tmp_path: Path
) -> None:
    graph, data = network(widths, seed, tmp_path)
    region, spec = question(graph, seed, clause)
    asked = shifted(graph, region, spec, 0.02)
    found = prove(graph, region, asked, data, timeout=60)
    assert found.statuses == [Status.VERIFIED]
    assert found.proof is not None
    write(tmp_path / "proof", found.proof)
    again = check(read(tmp_path / "proof"), data)
    assert again == found.checked
    assert again.least is not None
    assert 0 < again.least < np.inf


@pytest.mark.parametrize(
    ("widths", "ways"),
    [
        pytest.param(widths, ways, id=f"{name}-{ways}", marks=[] if quick else pytest.mark.slow)
        for ways, quick_name in (
            ([True], "few"),
            ([False], "many"),
            ([True, False], "many"),
            ([False, True], "few"),
        )
        for name, widths in (("few", FEW), ("many", MANY))
        for quick in [name == quick_name]
    ],
)
def test_close_calls_are_proved_whatever_is_cut(
    widths: tuple[int, ...], ways: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs or neurons, alone or by turns, where each comes to lead as soon as it settles anything."""
    monkeypatch.setattr(schedule, "_OTHERS", (1.0, 5e-3))
    monkeypatch.setattr(schedule, "_LEADS", 0.0)
    monkeypatch.setattr(PROVE, "cuts", lambda graph, varying: ways)
    for seed in (1, 2):
        graph, data = network(widths, seed, tmp_path)
        region, spec = question(graph, seed, None)
        found = prove(graph, region, shifted(graph, region, spec, 3e-4), data, timeout=60)
        assert found.statuses == [Status.VERIFIED]
        assert found.proof is not None
        assert check(found.proof, data) == found.checked
        false = prove(graph, region, shifted(graph, region, spec, -3e-4), data, timeout=1)
        assert false.proof is None


def test_multipliers_of_a_linear_program_prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all neurons are cut, gradient steps alone come near to the truth, and not there."""
    graph, data = network(MANY, 4, tmp_path)
    region, spec = question(graph, 4, None)
    asked = shifted(graph, region, spec, 1e-6)
    monkeypatch.setattr(PROVE, "cuts", lambda graph, varying: [False])
    found = prove(graph, region, asked, data, timeout=60)
    assert found.proof is not None
    assert check(found.proof, data) == found.checked
    monkeypatch.setattr(Search, "_by_corners", lambda self, found, where: torch.zeros_like(where))
    assert prove(graph, region, asked, data, timeout=3).proof is None


@pytest.mark.parametrize("widths", [FEW, MANY], ids=["inputs", "neurons"])
def test_leaves_prove_no_more_than_what_is_true(widths: tuple[int, ...], tmp_path: Path) -> None:
    """The same trees with a threshold beyond the truth are refused."""
    graph, data = network(widths, 3, tmp_path)
    region, spec = question(graph, 3, None)
    proof = prove(graph, region, shifted(graph, region, spec, 0.02), data).proof
    assert proof is not None
    [part] = proof.statement.parts
    false = replace(part, clauses=tuple(replace(c, offset=c.offset - 0.021) for c in part.clauses))
    with pytest.raises(Refused, match="its bound"):
        check(Proof(replace(proof.statement, parts=(false,)), proof.trees), data)


@pytest.mark.parametrize("widths", [FEW, MANY], ids=["inputs", "neurons"])
def test_what_is_false_is_not_proved(widths: tuple[int, ...], tmp_path: Path) -> None:
    for seed in range(3):
        graph, data = network(widths, seed, tmp_path)
        region, spec = question(graph, seed, [0, 0, 1])
        found = prove(graph, region, shifted(graph, region, spec, -1e-6), data, timeout=2)
        assert found.proof is None
        assert found.statuses[0] is not Status.VERIFIED


def test_every_part_is_proved(tmp_path: Path) -> None:
    graph, data = network(MANY, 5, tmp_path)
    region, spec = question(graph, 5, None, batch=3)
    found = prove(graph, region, shifted(graph, region, spec, 0.05), data)
    assert found.proof is not None
    assert {tree.part for tree in found.proof.trees} == {0, 1, 2}
    one_false = shifted(graph, region, spec, 0.05)
    one_false.offset[1] -= 0.1
    found = prove(graph, region, one_false, data, timeout=5)
    assert found.proof is None
    assert [s is Status.VERIFIED for s in found.statuses] == [True, False, True]


@pytest.mark.parametrize("inputs", [2, 14])
def test_smooth_functions(inputs: int, tmp_path: Path) -> None:
    graph, data = network((inputs, 6, 3), 2, tmp_path, "Sigmoid")
    region, spec = question(graph, 2, None)
    g = torch.Generator().manual_seed(0)
    share = torch.rand(20000, inputs, generator=g, dtype=torch.float64)
    values = graph.to(torch.float64)(region.lower + share * (region.upper - region.lower))
    least = float(spec.worst(spec.evaluate(values)).min())
    asked = bounds.Spec(spec.matrix, spec.offset + 0.1 - least)
    found = prove(graph, region, asked, data)
    assert found.proof is not None


def test_levels(tmp_path: Path) -> None:
    """One of the two nets is true in exact arithmetic only, the other for floats only."""
    for m, sign, offset, level, proved in (
        (2.0**25, 1.0, -0.25, "real", True),
        (2.0**25, 1.0, -0.25, "deployed", False),
        (2.0**54, -1.0, 0.25, "real", False),
        (2.0**54, -1.0, 0.25, "deployed", False),
    ):
        graph, data = read_back(two_shifts(m), tmp_path)
        region = bounds.Box(*(torch.tensor([[end]], dtype=torch.float64) for end in (0.3, 0.4)))
        spec = bounds.Spec(torch.tensor([[[sign]]]), torch.tensor([[offset]]))
        found = prove(graph, region, spec, data, level=level, timeout=1)
        assert (found.proof is not None) is proved


def test_deployed_proofs_say_so(tmp_path: Path) -> None:
    graph, data = network(MANY, 1, tmp_path)
    region, spec = question(graph, 1, None)
    found = prove(graph, region, shifted(graph, region, spec, 0.05), data, level="deployed")
    assert found.proof is not None
    assert found.proof.statement.level == "deployed"
    with pytest.raises(Refused, match="level"):
        Checker(data, "real").fits(found.proof.statement)


def test_little_memory_ends_a_proof(tmp_path: Path) -> None:
    graph, data = network(FEW, 0, tmp_path)
    region, spec = question(graph, 0, None)
    asked = shifted(graph, region, spec, 0.001)
    assert prove(graph, region, asked, data).proof is not None
    found = prove(graph, region, asked, data, leaves=100)
    assert found.proof is None
    assert found.statuses == [Status.UNKNOWN]


def test_no_time_is_no_proof(tmp_path: Path) -> None:
    graph, data = network(FEW, 0, tmp_path)
    region, spec = question(graph, 0, None)
    assert prove(graph, region, spec, data, timeout=0).statuses == [Status.TIMEOUT]


def test_the_time_ends_within_a_pass_of_the_checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, data = network((4, 20, 20, 20, 3), 0, tmp_path)
    region, spec = question(graph, 0, None)
    clock = itertools.count()
    module = importlib.import_module("bounds.proving.prove")  # the package has a function of its name
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    found = prove(graph, region, spec, data, timeout=2)  # the start, intervals, rows of one layer
    assert found.statuses == [Status.TIMEOUT]
    assert next(clock) == 3


def test_bad_questions(tmp_path: Path) -> None:
    graph, data = network(FEW, 0, tmp_path)
    region, spec = question(graph, 0, None)
    with pytest.raises(InvalidInput, match="no box"):
        prove(graph, bounds.Ball(torch.zeros(1, 4), 0.1, norm=2), spec, data)
    with pytest.raises(InvalidInput, match="claims nothing"):
        prove(graph, region, spec, data, level="float")
    with pytest.raises(Refused):
        prove(graph, region, spec, data[:-20])


def test_trees_are_small(tmp_path: Path) -> None:
    """Tens of bytes a leaf where inputs are cut, and a byte per undecided neuron besides."""
    graph, data = network(FEW, 0, tmp_path)
    region, spec = question(graph, 0, None, eps=0.5)
    found = prove(graph, region, shifted(graph, region, spec, 0.0003), data)
    assert found.proof is not None
    assert found.checked is not None
    assert found.checked.leaves > 10
    assert len(packed(found.proof)) < 500 + 150 * found.checked.leaves
