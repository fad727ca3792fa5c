"""A proof of a property, checked against the network and the property that it should be about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch

from bounds import Level, read_onnx
from bounds.proof import Proof, Refused, digest, model_bytes
from bounds.proof.check import Checker, check
from bounds.proof.file import MAGIC, unpacked
from bounds.proving.statements import statement
from certify.audit.item import Item, Outcome, item, skipped
from certify.audit.replay import Scene
from certify.errors import ArtefactRejected, Exit
from certify.ledger import Ledger
from certify.proofs import same_property, same_statement
from certify.reporting.schema import Report
from certify.verdict import SENTENCES, Verdict


def held(report: Report) -> dict[tuple[float, int], str]:
    """The proofs that a report speaks of: their digests by eps and sample."""
    return {
        (row.eps, row.sample): str(each.detail["proof_sha256"])
        for row in report.samples
        for each in row.findings
        if row.verdict is Verdict.VERIFIED and each.method == row.by and "proof_sha256" in each.detail
    }


def held_problems(scene: Scene, folder: Path) -> Iterator[str]:
    """Proofs of a run folder that are missing, refused, or about something else."""
    with Ledger.read(folder) as ledger:
        files = {(row.eps, row.sample): (row.proof, row.level) for row in ledger.verdicts()}
    model = scene.job.model.onnx
    for (eps, sample), digest_ in held(scene.report).items():
        what = f"the proof of sample {sample} at eps {eps:g}"
        data, level = files.get((eps, sample), (None, None))
        if data is None or level is None or hashlib.sha256(data).hexdigest() != digest_:
            yield f"{what} is not in the run folder"
        elif model is None:
            yield f"{what} is about an ONNX file, and the model is none"
        else:
            query = scene.query(eps, (sample,))
            asked = statement(digest(model), level, query.region, query.spec)
            try:
                proof = unpacked(data)
                check(proof, model)
            except Refused as refusal:
                yield f"{what} is refused: {refusal}"
                continue
            if not same_statement(proof.statement, asked):
                yield f"{what} is about something else"


def is_proof(data: bytes) -> bool:
    """Whether a file says that it is a proof."""
    return data.startswith(MAGIC)


def examined(data: bytes, network: Path, prop: Path | None) -> list[Item]:
    """All that can be said of a proof file. Raises ``ArtefactRejected`` for files that cannot be read."""
    try:
        proof, model = unpacked(data), model_bytes(network)
        Checker(model, proof.statement.level)
    except Refused as refusal:
        raise ArtefactRejected(f"refused: {refusal}") from refusal
    return list(_items(proof, model, network, prop))


def _items(proof: Proof, model: bytes, network: Path, prop: Path | None) -> Iterator[Item]:
    claim = proof.statement
    other = [] if claim.model == digest(model) else [f"the proof is about another model than {network}"]
    yield item("model", f"the proof is about {network}", other, Exit.HASH_MISMATCH)
    if prop is None:
        yield skipped("property", "give the one that the proof should be about with --property")
    else:
        differs = [] if same_property(claim, prop) else [f"the proof is about another property than {prop}"]
        yield item("property", f"the proof is about {prop}", differs, Exit.HASH_MISMATCH)
    if other:
        yield skipped("proof", "it is about another model")
    elif proof.witness is None:
        yield _proved(proof, model)
    else:
        yield _refuted(proof, model, network)


def _proved(proof: Proof, model: bytes) -> Item:
    try:
        found = check(proof, model)
    except Refused as refusal:
        return Item("proof", Outcome.FAILED, str(refusal))
    level = Level(proof.statement.level)
    return Item("proof", Outcome.CONFIRMED, f"{found.leaves} leaves, level {level.value}: {SENTENCES[level]}")


def _refuted(proof: Proof, model: bytes, network: Path) -> Item:
    """The counterexample in exact arithmetic, or at least when the network is run."""
    try:
        check(proof, model)
    except Refused as refusal:
        problems = [] if _fails(proof, network) else [f"{refusal}, nor does it fail when the network is run"]
        return item("counterexample", "fails when the network is run", problems)
    return Item("counterexample", Outcome.CONFIRMED, "the property fails there in exact arithmetic")


def _fails(proof: Proof, network: Path) -> bool:
    """Whether a clause has no positive row at the witness, a point of its box, where the network is run."""
    if proof.witness is None:
        return False
    part, point = proof.statement.parts[proof.witness.part], proof.witness.point
    graph = read_onnx(network)
    dtypes = {p.dtype for node in graph.nodes for p in node.params if p.is_floating_point()}
    x = torch.from_numpy(point).to(torch.float64 if torch.float64 in dtypes else torch.float32)
    if (
        not bool(((part.lower <= point) & (point <= part.upper)).all())
        or x.double().numpy().tolist() != point.tolist()
    ):
        return False
    with torch.no_grad():
        y = graph.to(x.dtype)(x.view(1, *graph.input_shape)).flatten().double().numpy()
    return any(bool((clause.rows @ y + clause.offset <= 0).all()) for clause in part.clauses)
