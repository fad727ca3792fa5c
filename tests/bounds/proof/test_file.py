"""Proof files: nothing is lost on the way, and nothing hostile gets in."""

import json
import struct
import zlib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bounds.proof import Clause, Part, Proof, Refused, Statement, Witness, read
from bounds.proof.file import SCHEMA, unpacked
from bounds.proof.format import Lemma
from bounds.proving.written import packed, write
from tests.bounds.proof.strategies import random_proof

HEAD = struct.calcsize("<9sHI")


def same(one: object, other: object) -> bool:
    """Whether two values hold the same, bit for bit."""
    if isinstance(one, np.ndarray):
        other = np.asarray(other)
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return one == other


def some_proof(wanted: type, level: str = "real") -> Proof:
    """The first random proof with trees, or with a witness."""
    for seed in range(1000):
        proof = random_proof(np.random.default_rng(seed))
        split = all(any(len(f.layer) > 1 for f in forests) for forests in (proof.trees, proof.lemmas))
        if (proof.witness is not None) == (wanted is Witness) and (wanted is Witness or split):
            return proof
    raise AssertionError


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_is_read(seed: int, tmp_path: Path) -> None:
    proof = random_proof(np.random.default_rng(seed))
    size = write(tmp_path / "p.proof", proof)
    assert size == (tmp_path / "p.proof").stat().st_size
    assert same(read(tmp_path / "p.proof"), proof)
    assert packed(read(tmp_path / "p.proof")) == packed(proof)


def test_every_truncation_is_refused() -> None:
    data = packed(some_proof(Proof))
    for length in range(len(data)):
        with pytest.raises(Refused):
            unpacked(data[:length])


def test_flipped_bytes() -> None:
    """A changed byte is nearly always refused; what is left is well formed."""
    data = packed(some_proof(Proof))
    refused = 0
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= flip
            try:
                other = unpacked(bytes(changed))
            except Refused:
                refused += 1
                continue
            assert same(unpacked(packed(other)), other)
    assert refused > 2.9 * len(data)


def test_more_bytes_than_stated_are_refused() -> None:
    with pytest.raises(Refused, match="stated size"):
        unpacked(packed(some_proof(Proof)) + b"x")


def test_larger_files_than_any_proof_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "p.proof").open("wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(Refused, match="more than"):
        read(tmp_path / "p.proof")


@pytest.mark.parametrize("entry", [True, 0.0, "0", [0]], ids=str)
def test_indices_are_whole_numbers(entry: object) -> None:
    """Python would take True for 1 and hand it back."""
    every = (random_proof(np.random.default_rng(seed)) for seed in range(1000))
    proof = next(proof for proof in every if proof.witness is not None and proof.witness.part == 1)
    with pytest.raises(Refused):
        unpacked(changed_header(packed(proof), witness=entry))


def test_a_model_is_named_by_a_text() -> None:
    with pytest.raises(Refused, match="digest"):
        unpacked(changed_header(packed(some_proof(Proof)), model=["0"] * 64))


def test_headers_are_written_in_one_way() -> None:
    data = packed(some_proof(Proof))
    magic, schema, size = struct.unpack_from("<9sHI", data)
    head = data[HEAD : HEAD + size]
    for other in (
        head.replace(b":", b": ", 1),
        head.replace(b"{", b'{"bytes":1,', 1),
        json.dumps(dict(reversed(json.loads(head).items())), separators=(",", ":")).encode(),
    ):
        with pytest.raises(Refused, match="canonical"):
            unpacked(struct.pack("<9sHI", magic, schema, len(other)) + other + data[HEAD + size :])


def changed_header(data: bytes, **changes: object) -> bytes:
    """The file with other entries in its header."""
    magic, schema, size = struct.unpack_from("<9sHI", data)
    header = json.loads(data[HEAD : HEAD + size])
    header.update(changes)
    head = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return struct.pack("<9sHI", magic, schema, len(head)) + head + data[HEAD + size :]


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": 2**40},
        {"bytes": 10},
        {"bytes": -1},
        {"bytes": 1.5},
        {"bytes": True},
        {"inputs": 2**31 - 1},
        {"outputs": 10**30},
        {"outputs": "ab", "parts": [[10**12]]},
        {"outputs": -1},
        {"level": "float"},
        {"level": None},
        {"model": "x" * 64},
        {"model": "00"},
        {"parts": []},
        {"parts": [1]},
        {"parts": [[-1]]},
        {"parts": {"a": 1}},
        {"trees": []},
        {"trees": [{}]},
        {"trees": None},
        {"lemmas": None},
        {"lemmas": []},
        {"lemmas": [{}]},
        {"lemmas": {"a": 1}},
        {"witness": 7},
        {"witness": "0"},
        {"more": 1},
    ],
    ids=str,
)
def test_hostile_headers(changes: dict[str, object]) -> None:
    with pytest.raises(Refused):
        unpacked(changed_header(packed(some_proof(Proof)), **changes))


@pytest.mark.parametrize(
    "head", [b"[" * 100_000, b"{", b"[]", b"1", b"NaN", b'{"bytes":NaN}', b"9" * 10_000, b"\xff\xfe", b""]
)
def test_headers_that_are_none(head: bytes) -> None:
    with pytest.raises(Refused):
        unpacked(struct.pack("<9sHI", b"CERTPROOF", SCHEMA, len(head)) + head + zlib.compress(b""))


def test_a_bomb_is_not_unpacked() -> None:
    """A gigabyte of zeros in a megabyte, behind a header that promises little."""
    data = packed(some_proof(Proof))
    size = struct.unpack_from("<9sHI", data)[2]
    squeezed = zlib.compressobj(9)
    bomb = b"".join(squeezed.compress(bytes(2**20)) for _ in range(1024)) + squeezed.flush()
    with pytest.raises(Refused, match="stated size"):
        unpacked(data[: HEAD + size] + bomb)


def test_small_files_of_huge_statements() -> None:
    """What the header lists and a few zeros in the arrays would be gigabytes of clauses."""
    for parts, size in (([[2**16 + 1]], 2**20 + 40), ([[1]] * 2**19, 2**24 + 8)):
        data = changed_header(packed(some_proof(Witness)), bytes=size, inputs=1, outputs=1, parts=parts)
        head = data[: HEAD + struct.unpack_from("<9sHI", data)[2]]
        with pytest.raises(Refused, match=r"alternatives|oversized"):
            unpacked(head + zlib.compress(bytes(size), 9))


def test_another_schema_and_other_files() -> None:
    data = bytearray(packed(some_proof(Proof)))
    for old in (1, 2):
        data[9] = old
        with pytest.raises(Refused, match=f"schema {old}"):
            unpacked(bytes(data))
    with pytest.raises(Refused, match="not a proof"):
        unpacked(b"PK\x03\x04" + bytes(100))
    with pytest.raises(Refused, match="cannot be read"):
        read(Path("/nonexistent.proof"))


BAD_TREES = {
    "nan multiplier": lambda t: t["multipliers"].__setitem__((0, 0), np.nan),
    "negative multiplier": lambda t: t["multipliers"].__setitem__((0, 0), -1.0),
    "infinite weight": lambda t: t["weights"].__setitem__((0, 0), np.inf),
    "negative weight": lambda t: t["weights"].__setitem__((0, 0), -0.5),
    "nan split": lambda t: t["at"].__setitem__(0, np.nan),
    "negative layer": lambda t: t["layer"].__setitem__(0, -1),
    "negative element": lambda t: t["element"].__setitem__(0, -1),
    "a leaf missing": lambda t: t["splits"].__setitem__(-1, True),
    "a leaf too many": lambda t: t["splits"].__setitem__(0, False),
    "set out of range": lambda t: t["chosen"].__setitem__((0, 0), 9),
    "clauses doubled": lambda t: t.__setitem__("clauses", np.array([0, 0], np.int32)),
    "no clauses": lambda t: t.__setitem__("clauses", np.array([], np.int32)),
    "hidden": lambda t: t.__setitem__("hidden", "nowhere"),
    "fewer multipliers": lambda t: t.__setitem__("multipliers", t["multipliers"][1:]),
    "fewer leaves": lambda t: t.__setitem__("weights", t["weights"][1:]),
    "rows, but not at the root": lambda t: t.update(hidden="leaf", rows=np.ones(1, np.bool_)),
    "rows that are numbers": lambda t: t.update(hidden="root", rows=np.ones(1, np.uint8)),
    "double weights": lambda t: t.__setitem__("weights", t["weights"].astype(np.float64)),
}


@pytest.mark.parametrize("name", BAD_TREES)
def test_trees_that_are_none(name: str) -> None:
    proof = some_proof(Proof)
    tree = next(tree for tree in proof.trees if len(tree.layer) > 1)
    values = {f.name: getattr(tree, f.name) for f in fields(tree) if f.init}
    values = {key: v.copy() if isinstance(v, np.ndarray) else v for key, v in values.items()}
    type(tree)(**values)
    BAD_TREES[name](values)
    with pytest.raises(Refused):
        type(tree)(**values)


BAD_LEMMAS = {
    "nan multiplier": lambda t: t["multipliers"].__setitem__((0, 0), np.nan),
    "negative multiplier": lambda t: t["multipliers"].__setitem__((0, 0), -1.0),
    "nan split": lambda t: t["at"].__setitem__(0, np.nan),
    "negative layer": lambda t: t["layer"].__setitem__(0, -1),
    "negative element": lambda t: t["element"].__setitem__(0, -1),
    "negative end": lambda t: t["ends"].__setitem__(0, -1),
    "no side": lambda t: t["sides"].__setitem__(0, 0),
    "a leaf missing": lambda t: t["splits"].__setitem__(-1, True),
    "a leaf too many": lambda t: t["splits"].__setitem__(t["splits"].argmax(), False),
    "a node behind the last leaf": lambda t: t.__setitem__("splits", np.append(t["splits"], False)),
    "an end twice": lambda t: t.update(ends=t["ends"] * 0, sides=t["sides"] * 0 + 1),
    "ends in another order": lambda t: t.update(ends=t["ends"][::-1].copy(), sides=t["sides"][::-1].copy()),
    "an end more": lambda t: t.update(
        ends=np.append(t["ends"], np.int32(99)), sides=np.append(t["sides"], np.int8(1))
    ),
    "no ends": lambda t: t.update({key: t[key][:0] for key in t.keys() - {"part", "of", "slopes"}}),
    "set out of range": lambda t: t["chosen"].__setitem__((0, 0), 9),
    "two clauses": lambda t: t.__setitem__("chosen", np.hstack([t["chosen"]] * 2)),
    "fewer multipliers": lambda t: t.__setitem__("multipliers", t["multipliers"][1:]),
    "the input": lambda t: t.__setitem__("of", 0),
    "layer below all": lambda t: t.__setitem__("of", -1),
    "layer that Python takes for 1": lambda t: t.__setitem__("of", True),
}


@pytest.mark.parametrize("name", BAD_LEMMAS)
def test_lemmas_that_are_none(name: str) -> None:
    proof = some_proof(Proof)
    lemma = next(each for each in proof.lemmas if len(each.layer) > 1)
    values = {f.name: getattr(lemma, f.name) for f in fields(lemma)}
    values = {key: v.copy() if isinstance(v, np.ndarray) else v for key, v in values.items()}
    Lemma(**values)
    BAD_LEMMAS[name](values)
    with pytest.raises(Refused):
        Lemma(**values)


def test_lemmas_are_of_parts_in_their_order_and_for_trees() -> None:
    proof = some_proof(Proof)
    [first, *_] = proof.lemmas
    for lemmas in ((first, first), (replace(first, of=2), replace(first, of=1)), (replace(first, part=9),)):
        with pytest.raises(Refused):
            replace(proof, lemmas=lemmas)
    witness = Witness(0, proof.statement.parts[0].lower)
    with pytest.raises(Refused, match="without trees"):
        Proof(proof.statement, witness=witness, lemmas=(first,))


def test_a_tree_deeper_than_any_search_is_refused() -> None:
    proof = some_proof(Proof)
    tree = proof.trees[0]
    values = {f.name: getattr(tree, f.name) for f in fields(tree) if f.init}
    values["splits"] = np.ones(10_000, np.bool_)
    with pytest.raises(Refused, match="deeper"):
        type(tree)(**values)


def test_statements_that_are_none() -> None:
    row = Clause(np.ones((1, 2)), np.zeros(1))
    box = np.zeros(3), np.ones(3)
    part = Part(*box, (row,))
    for make in (
        lambda: Part(box[1], box[0], (row,)),
        lambda: Part(*box, ()),
        lambda: Part(np.array([np.nan] * 3), box[1], (row,)),
        lambda: Part(box[0], np.array([1.0, 1.0, np.inf]), (row,)),
        lambda: Part(*box, (row, Clause(np.ones((1, 3)), np.zeros(1)))),
        lambda: Clause(np.ones((1, 2)), np.zeros(2)),
        lambda: Clause(np.ones((0, 2)), np.zeros(0)),
        lambda: Clause(np.full((1, 2), np.nan), np.zeros(1)),
        lambda: Statement("0" * 64, "float", (part,)),
        lambda: Statement("0" * 63, "real", (part,)),
        lambda: Statement("0" * 64, "real", ()),
        lambda: Proof(Statement("0" * 64, "real", (part,))),
        lambda: Proof(Statement("0" * 64, "real", (part,)), witness=Witness(1, np.zeros(3))),
        lambda: Proof(Statement("0" * 64, "real", (part,)), witness=Witness(0, np.zeros(4))),
    ):
        with pytest.raises(Refused):
            make()


def test_every_clause_needs_a_tree() -> None:
    for seed in range(20):
        proof = random_proof(np.random.default_rng(seed))
        for left_out in range(len(proof.trees)):
            rest = proof.trees[:left_out] + proof.trees[left_out + 1 :]
            with pytest.raises(Refused):
                Proof(proof.statement, rest)
