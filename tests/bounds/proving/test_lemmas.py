"""Lemmas by the prover: what only they prove is proved, and they say no more than what holds."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bounds
from bounds.proof import Refused, digest, model_bytes
from bounds.proof.check import Checker, check
from bounds.proof.file import unpacked
from bounds.propagate.problem import OutOfTime
from bounds.proving import prove
from bounds.proving.leaves import lemma
from bounds.proving.statements import statement
from bounds.proving.written import packed
from bounds.rounding import Level
from bounds.search import Status
from bounds.search.search import Search
from bounds.vnnlib import read_vnnlib
from certify.property import shaped

from ..proof.nets import leaf
from ..search.oracles import least_by_milp
from .test_leaves import SIZES, grown
from .test_prove import network, question

module = importlib.import_module("bounds.proving.prove")  # the package has a function of its name
DEEP = (14, 8, 8, 8, 8, 3)


def asked(
    seed: int, folder: Path, share: float
) -> tuple[bounds.Graph, bytes, bounds.Box, bounds.Spec, float]:
    """Whether a row is above a value: so far on the way from what the checker finds without a cut to the
    least that it has; and how far that is off."""
    graph, data = network(DEEP, seed, folder)
    region, spec = question(graph, seed, None, eps=0.4)
    spec = bounds.Spec(spec.matrix[:, :1], spec.offset[:, :1])
    [part] = statement(digest(data), Level.REAL, region, spec).parts
    plain = float(Checker(data, "real").bounds(part, leaf(part))[0, 0])
    least = least_by_milp(graph, region, spec)
    value = plain + share * (least - plain)
    return graph, data, region, bounds.Spec(spec.matrix, spec.offset - value), least - value


def no_search(patch: pytest.MonkeyPatch) -> None:
    def nothing(self: Search, stop: float = np.inf, end: float | None = None) -> None:
        if stop == np.inf:
            raise OutOfTime

    patch.setattr(Search, "run", nothing)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_what_only_lemmas_prove(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, data, region, spec, off = asked(seed, tmp_path, 0.5)
    no_search(monkeypatch)
    found = prove(graph, region, spec, data, timeout=30)
    assert found.proof is not None
    assert {each.of for each in found.proof.lemmas} <= {2, 3, 4}
    again = unpacked(packed(found.proof))
    assert check(again, data) == found.checked
    with pytest.raises(Refused, match="its bound"):
        check(replace(again, lemmas=()), data)
    [part] = again.statement.parts
    false = replace(part, clauses=tuple(replace(c, offset=c.offset - off - 1e-6) for c in part.clauses))
    with pytest.raises(Refused, match="its bound"):
        check(replace(again, statement=replace(again.statement, parts=(false,))), data)
    monkeypatch.setattr(module, "lemma_nodes", lambda *asked: [])
    found = prove(graph, region, spec, data, timeout=30)
    assert found.proof is None
    assert found.statuses == [Status.TIMEOUT]


@pytest.mark.parametrize(
    ("function", "eps", "level"),
    [
        pytest.param("Relu", 0.4, "real", marks=pytest.mark.slow),
        pytest.param("Relu", 0.4, "deployed", marks=pytest.mark.slow),
        ("Sigmoid", 3.0, "real"),
    ],
)
def test_a_search_goes_on_with_lemmas(
    function: str, eps: float, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two parts with all kinds of functions; what fails at a point is not proved."""
    graph, data = network(DEEP if function == "Relu" else (14, 8, 8, 8, 3), 3, tmp_path, function)
    region, spec = question(graph, 3, None, batch=2, eps=eps)
    spec, checker = bounds.Spec(spec.matrix[:, :1], spec.offset[:, :1]), Checker(data, level)
    parts = statement(digest(data), Level(level), region, spec).parts
    plain = torch.tensor([float(checker.bounds(part, leaf(part))[0, 0]) for part in parts])
    corners = torch.rand(2000, 2, 14, generator=torch.Generator().manual_seed(0)).round().double()
    points = region.lower + (0.001 + 0.998 * corners) * (region.upper - region.lower)
    values = graph.to(torch.float64)(points.flatten(0, 1)).view(2000, 2, -1)
    least = (values * spec.matrix[:, 0]).sum(2).amin(0)
    monkeypatch.setattr(module, "worthwhile", lambda *gains: True)
    monkeypatch.setattr(module, "GLANCE", 0.0)
    far = bounds.Spec(spec.matrix, -(plain + 0.75 * (least - plain))[:, None])
    found = prove(graph, region, far, data, timeout=40, level=level)
    assert found.proof is not None
    assert found.proof.lemmas
    with pytest.raises(Refused, match="its bound"):
        check(replace(found.proof, lemmas=()), data)
    false = bounds.Spec(spec.matrix, -(least + 0.01)[:, None])
    assert prove(graph, region, false, data, timeout=3, level=level).proof is None


def test_lemmas_that_gain_too_little_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search that was broken off goes on, with all that it had closed."""
    graph, data, region, spec, _ = asked(3, tmp_path, 0.95)
    monkeypatch.setattr(module, "worthwhile", lambda *gains: False)
    found = prove(graph, region, spec, data, timeout=60)
    assert found.proof is not None
    assert not found.proof.lemmas
    assert found.checked is not None
    assert found.checked.leaves > 1


@pytest.mark.parametrize("seed", range(10))
def test_a_lemma_has_the_leaves_of_its_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ends = {(e, upper): grown(rng, int(rng.integers(6))) for e, upper in ((2, 1), (0, 0), (2, 0), (1, 1))}
    mixed = {end: [leaves[k] for k in rng.permutation(len(leaves))] for end, (_, leaves) in ends.items()}
    found = lemma(0, 1, mixed, SIZES)
    assert found.ends.tolist() == [0, 1, 2, 2]
    assert found.sides.tolist() == [1, -1, 1, -1]
    order = [ends[end] for end in sorted(ends)]
    assert found.splits.tolist() == [bool(x) for shape, _ in order for x in shape]
    counts = [len(leaves) for _, leaves in order]
    assert found.owners.tolist() == np.arange(4).repeat(counts).tolist()
    every = [each for _, leaves in order for each in leaves]
    assert np.array_equal(found.multipliers, np.concatenate([each.multipliers for each in every]))
    assert found.paths[2].tolist() == [side for each in every for side in each.side.tolist()]
    with pytest.raises(ValueError, match="leaves are missing"):
        lemma(0, 1, {**mixed, (3, 0): ends[2, 0][1][1:] or mixed[2, 1] * 2}, SIZES)


@pytest.mark.slow
def test_a_property_that_rests_on_tighter_neurons(data_dir: Path) -> None:
    folder = data_dir / "vnncomp" / "mnist_fc"
    data = model_bytes(folder / "onnx" / "mnist-net_256x4.onnx.gz")
    graph = bounds.read_onnx(folder / "onnx" / "mnist-net_256x4.onnx.gz")
    region, spec = read_vnnlib(folder / "vnnlib" / "prop_10_0.05.vnnlib.gz")
    found = prove(graph, shaped(graph, region, spec), spec, data, timeout=60)
    assert found.proof is not None
    assert found.proof.lemmas
