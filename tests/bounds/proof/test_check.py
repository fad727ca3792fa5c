"""The checker on networks: values, tightness, the two nets that separate the levels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bounds
from bounds.proof import Clause, Part, Proof, Refused, Statement, Witness, chain, digest, model_bytes
from bounds.proof.check import Checker, check
from tests.bounds.proof.nets import leaf, mlp, statement, two_shifts

LOW, HIGH = np.array([0.3]), np.array([0.4])


def accepted(data: bytes, row: float, offset: float, level: str, exact: bool = False) -> bool:
    """Whether a single leaf proves ``row * y + offset > 0`` for x in [0.3, 0.4]."""
    claim = statement(data, LOW, HIGH, np.array([[row]]), np.array([offset]), level)
    try:
        check(Proof(claim, (leaf(claim.parts[0]),)), data, exact)
    except Refused:
        return False
    return True


def test_true_in_exact_arithmetic_but_false_in_float32_execution() -> None:
    data = two_shifts(2.0**25)
    assert accepted(data, 1.0, -0.25, "real")
    assert accepted(data, 1.0, -0.25, "real", exact=True)
    assert not accepted(data, 1.0, -0.25, "deployed")


def test_false_in_exact_arithmetic_though_float_executions_agree() -> None:
    data = two_shifts(2.0**54)
    assert not accepted(data, -1.0, 0.25, "real")
    assert not accepted(data, -1.0, 0.25, "real", exact=True)
    assert not accepted(data, -1.0, 0.25, "deployed")


@pytest.mark.parametrize("level", ["real", "deployed"])
@pytest.mark.parametrize("name", ["mnistfc_2", "mnistfc_6", "mnist_conv_small", "oval_base"])
def test_about_as_tight_as_the_engine(name: str, level: str, data_dir: Path) -> None:
    file = data_dir / "bounds" / f"{name}.onnx"
    recorded, data = np.load(data_dir / "bounds" / f"{name}.npz"), model_bytes(file)
    low, high = (recorded[key][0].astype(np.float64) for key in ("lo", "hi"))
    spec = bounds.margins(torch.tensor([int(recorded["y"][0])]), 10)
    box = bounds.Box(torch.tensor(low)[None], torch.tensor(high)[None])
    graph = bounds.read_onnx(file)
    engine = bounds.bound(graph, box, spec, "crown", torch.float64, level).lower[0].numpy()
    claim = statement(data, low.ravel(), high.ravel(), spec.matrix[0].double().numpy(), None, level)
    checker = Checker(data, level)
    tree = leaf(claim.parts[0])
    found = checker.bounds(claim.parts[0], tree)[0]
    scale = np.abs(engine).max()
    assert (found <= engine + 0.01 * scale).all()  # CROWN's lines are the same, or the engine's are better
    assert (found >= engine - 0.1 * scale).all()
    # A point of the box shows that they are no better than they may be.
    with torch.no_grad():
        outputs = graph(torch.tensor(low, dtype=torch.float32)[None]).double()
        values = spec.to(torch.float64).evaluate(outputs)[0].numpy()
    assert (found <= values + 1e-4).all()


def test_witnesses() -> None:
    data = mlp([np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0]])], [np.zeros(2), np.array([-0.35])])
    claim = statement(data, LOW - 1, HIGH, np.array([[1.0]]))  # |x| - 0.35 > 0
    assert check(Proof(claim, witness=Witness(0, np.array([0.1]))), data).least is None
    for point in (np.array([0.36]), np.array([0.5])):  # not a counterexample, not in the box
        with pytest.raises(Refused, match="witness"):
            check(Proof(claim, witness=Witness(0, point)), data)


def test_witnesses_of_executions_are_float32() -> None:
    data = two_shifts(1.0)
    claim = statement(data, LOW, HIGH, np.array([[-1.0]]), level="deployed")
    for point, right in ((np.float32(0.35), True), (0.35, False)):
        proof = Proof(claim, witness=Witness(0, np.array([point], np.float64)))
        if right:
            assert check(proof, data).least is None
        else:
            with pytest.raises(Refused, match="float32"):
                check(proof, data)


def test_many_clauses_of_a_leaf_are_bounded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows as a proof has clauses do not fit into memory at once; bounds are the same."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((6, 2), (6, 6), (5, 6))]
    data = mlp(weights, [rng.normal(size=len(w)) for w in weights])
    claim = statement(data, -np.ones(2), np.ones(2), rng.normal(size=(40, 5)))
    codes, chosen = rng.integers(1, 256, (2, 12)).astype(np.uint8), rng.integers(3, size=(1, 40))
    tree = replace(leaf(claim.parts[0]), slopes=codes, chosen=chosen.astype(np.int32))
    whole = Checker(data, "real").bounds(claim.parts[0], tree)
    monkeypatch.setattr(chain, "_MEMORY", 2**11)
    few = Checker(data, "real")
    assert few.chain.rows_at_once < 20
    np.testing.assert_allclose(few.bounds(claim.parts[0], tree), whole, rtol=1e-12)


def test_sets_of_slopes_that_are_none_take_no_memory() -> None:
    data = two_shifts(1.0)
    claim = statement(data, LOW, HIGH, np.array([[1.0]]))
    tree = replace(leaf(claim.parts[0]), slopes=np.zeros((0, 2**31 - 1), np.uint8))
    with pytest.raises(Refused, match="slopes"):
        check(Proof(claim, (tree,)), data)


def test_a_part_without_its_model() -> None:
    data = two_shifts(1.0)
    claim = statement(data, LOW, HIGH, np.array([[1.0]]))
    proof = Proof(claim, (leaf(claim.parts[0]),))
    assert check(proof, data).leaves == 1
    with pytest.raises(Refused, match="another model"):
        check(proof, two_shifts(2.0))
    wide = statement(data, np.zeros(2), np.ones(2), np.array([[1.0]]))
    with pytest.raises(Refused, match="numbers of inputs"):
        check(Proof(wide, (leaf(wide.parts[0]),)), data)
    with pytest.raises(Refused, match="level"):
        Checker(data, "deployed").fits(claim)


def test_what_is_known_of_one_box_is_not_used_for_another() -> None:
    """Parts and slopes alternate; bounds are those of a checker that has seen nothing else."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((6, 2), (6, 6), (1, 6))]
    data = mlp(weights, [np.ones(len(w)) for w in weights])
    seen = Checker(data, "real")
    for _ in range(12):
        middle, radius = rng.normal(size=2), rng.random() * [0.1, 2.0][int(rng.integers(2))]
        claim = statement(data, middle - radius, middle + radius, np.array([[1.0]]))
        codes, chosen = rng.integers(1, 256, (1, 12)), rng.integers(2, size=(1, 1))
        tree = replace(leaf(claim.parts[0]), slopes=codes.astype(np.uint8), chosen=chosen.astype(np.int32))
        found, fresh = (c.bounds(claim.parts[0], tree) for c in (seen, Checker(data, "real")))
        assert (found == fresh).all()


def test_one_false_part_among_true_ones_is_refused() -> None:
    data = mlp([np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0]])], [np.zeros(2), np.array([-0.35])])
    clause = (Clause(np.array([[1.0]]), np.zeros(1)),)  # |x| - 0.35 > 0
    true, false = (Part(np.array([low]), np.array([low + 1]), clause) for low in (0.5, 0.25))
    for parts in ((true, false), (false, true), (true, true)):
        trees = tuple(replace(leaf(part), part=k) for k, part in enumerate(parts))
        proof = Proof(Statement(digest(data), "real", parts), trees)
        if false not in parts:
            assert check(proof, data).leaves == 2
            continue
        with pytest.raises(Refused, match=f"of part {parts.index(false)}"):
            check(proof, data)


def test_deep_sigmoids_are_bounded_as_the_engine_does(tmp_path: Path) -> None:
    """Slopes of hidden rows are not in a proof, so that the checker's own have to be good."""
    rng = np.random.default_rng(0)
    weights = [3 * rng.normal(size=(20, n)) / np.sqrt(n) for n in (8, 20, 20, 20)]
    biases = [rng.normal(size=20) for _ in weights]
    data = mlp(weights, biases, "Sigmoid")
    low, high = -np.ones(8), np.ones(8)
    region = bounds.Box(torch.tensor(low)[None], torch.tensor(high)[None])
    spec = bounds.Spec(torch.eye(20, dtype=torch.float64)[None], torch.zeros(1, 20, dtype=torch.float64))
    (tmp_path / "net.onnx").write_bytes(data)
    graph = bounds.read_onnx(tmp_path / "net.onnx")
    engine = bounds.bound(graph, region, spec, "crown", torch.float64).lower[0].numpy()
    claim = statement(data, low, high, np.eye(20))
    found = Checker(data, "real").bounds(claim.parts[0], leaf(claim.parts[0]))[0]
    assert (np.abs(found - engine) < 1e-6).all()
