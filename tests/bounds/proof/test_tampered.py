"""Proofs that were tampered with are refused, with a place and a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from bounds.proof import Clause, Part, Proof, Refused, Statement, digest, read
from bounds.proof.__main__ import main
from bounds.proof.basics import Array
from bounds.proof.check import check
from bounds.proof.file import unpacked
from bounds.proof.format import Tree
from bounds.proving.written import packed, write
from tests.bounds.proof.nets import mlp

HIDDEN = np.array([[1.0], [-1.0], [1.0]]), np.array([0.0, 0.0, 2.0])
DATA, OTHER = (
    mlp([HIDDEN[0], np.array([[1.0, last, -1.0]])], [HIDDEN[1], np.array([2.0])]) for last in (-1.0, -1.5)
)


def proof(offset: float = 0.001) -> Proof:
    """relu(x) - relu(-x) - relu(x + 2) + 2 + offset > 0 on [-1, 1], where it is the offset.

    Both neurons must be split, and where the signs do not go together the first split's multiplier is needed.
    """
    part = Part(np.array([-1.0]), np.array([1.0]), (Clause(np.array([[1.0]]), np.array([offset])),))
    tree = Tree(
        0,
        np.zeros(1, np.int32),
        "root",
        np.ones((4, 1), np.float32),
        splits=np.array([True, True, False, False, True, False, False]),
        layer=np.ones(3, np.int32),
        element=np.array([0, 1, 1], np.int32),
        at=np.zeros(3),
        multipliers=np.array([1, 0, 0, 0, 0, 0, 1, 0], np.float32)[:, None],
        slopes=np.full((1, 3), 255, np.uint8),
        chosen=np.ones((4, 1), np.int32),
    )
    return Proof(Statement(digest(DATA), "real", (part,)), (tree,))


def changed(**arrays: Callable[[Array], Array]) -> Proof:
    """The proof with some arrays of its tree changed."""
    whole = proof()
    tree = whole.trees[0]
    return replace(
        whole, trees=(replace(tree, **{k: f(getattr(tree, k).copy()) for k, f in arrays.items()}),)
    )


def with_(index: tuple[int, ...] | int, value: float) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        array[index] = value
        return array

    return change


def test_the_proof_itself() -> None:
    for exact in (False, True):
        found = check(proof(), DATA, exact)
        assert found.leaves == 4
        assert found.least is not None
        assert 0 < found.least <= 0.001


def renamed(data: bytes) -> Proof:
    return replace(proof(), statement=replace(proof().statement, model=digest(data)))


TAMPERED: dict[str, Callable[[], Proof]] = {
    "split of another neuron": lambda: changed(element=with_(0, 1)),
    "split elsewhere": lambda: changed(at=with_(1, 0.5)),
    "a layer that is not there": lambda: changed(layer=with_(0, 2)),
    "an element that is not there": lambda: changed(element=with_(0, 3)),
    "children exchanged": lambda: changed(multipliers=lambda m: np.roll(m, 2, 0)),
    "no multipliers": lambda: changed(multipliers=lambda m: m * 0),
    "huge multiplier": lambda: changed(multipliers=with_((0, 0), 1e30)),
    "negative multiplier": lambda: changed(multipliers=with_((0, 0), -1.0)),
    "nan multiplier": lambda: changed(multipliers=with_((0, 0), np.nan)),
    "no weights": lambda: changed(weights=with_((0, 0), 0.0)),
    "negative weight": lambda: changed(weights=with_((0, 0), -1.0)),
    "a leaf missing": lambda: changed(splits=lambda s: s[:-1]),
    "a leaf for a split": lambda: changed(splits=with_(4, False)),
    "slopes of another network": lambda: changed(slopes=lambda c: np.tile(c, (1, 2))),
    "a stronger claim": lambda: proof(offset=0.0),
    "a false claim": lambda: proof(offset=-0.5),
    "the model of another": lambda: renamed(OTHER),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_proofs_are_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        check(TAMPERED[name](), DATA)
    assert caught.value.place
    assert caught.value.reason


def test_another_model_is_refused_though_the_proof_fits_it() -> None:
    with pytest.raises(Refused, match="another model"):
        check(proof(), OTHER)
    with pytest.raises(Refused, match="leaf"):
        check(renamed(OTHER), OTHER)


def test_the_place_of_a_wrong_leaf_is_named() -> None:
    wrong = changed(multipliers=with_((4, 0), 3.0))  # of the third leaf
    with pytest.raises(Refused, match="tree 0, leaf 2, clause 0 of part 0: its bound"):
        check(wrong, DATA)


def test_swapped_box_is_refused() -> None:
    part = proof().statement.parts[0]
    with pytest.raises(Refused, match="lower end above"):
        Part(part.upper, part.lower, part.clauses)


@pytest.mark.parametrize("seed", range(150))
def test_random_changes_of_a_file_are_refused_or_harmless(seed: int) -> None:
    """Bits of the arrays change; what is still accepted is true, that is, the offset is > 0."""
    rng = np.random.default_rng(seed)
    whole = proof()
    tree = whole.trees[0]
    arrays = {f.name: getattr(tree, f.name) for f in fields(tree) if f.init}
    names = [name for name, x in arrays.items() if isinstance(x, np.ndarray) and x.size]
    name = names[rng.integers(len(names))]
    raw = bytearray(getattr(tree, name).tobytes())
    raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
    old = getattr(tree, name)
    try:
        new = np.frombuffer(bytes(raw), np.uint8 if old.dtype == bool else old.dtype).reshape(old.shape)
        change = replace(tree, **{name: new.astype(old.dtype)})
        offset = float(rng.choice([0.001, 0.0, -1e-9]))
        clause = Clause(np.array([[1.0]]), np.array([offset]))
        part = replace(whole.statement.parts[0], clauses=(clause,))
        other = Proof(replace(whole.statement, parts=(part,)), (change,))
        check(unpacked(packed(other)), DATA)
    except Refused:
        return
    assert offset > 0


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, file = tmp_path / "net.onnx", tmp_path / "net.proof"
    network.write_bytes(DATA)
    write(file, proof())
    assert packed(read(file)) == packed(proof())
    for more in ([], ["--exact"]):
        assert main(["check", str(file), "--network", str(network), *more]) == 0
        assert "exact arithmetic satisfies the property (4 leaves)" in capsys.readouterr().out
    network.write_bytes(OTHER)
    assert main(["check", str(file), "--network", str(network)]) == 1
    assert "refused: statement: it is about another model" in capsys.readouterr().err
    assert main(["check", str(network), "--network", str(network)]) == 1
    assert "not a proof" in capsys.readouterr().err
    assert main(["check", str(file), "--network", str(tmp_path / "absent")]) == 1
