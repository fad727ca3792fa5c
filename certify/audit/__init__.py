"""A report verified by a third party: what it says is computed again, and some of it proved again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from certify.audit import evidence, replay
from certify.audit.derived import table_problems, text_problems
from certify.audit.item import Item, Outcome, item, skipped
from certify.audit.proofs import held, held_problems
from certify.audit.rates import rate_problems
from certify.audit.replay import Scene
from certify.audit.smoothed import radius_problems, recomputable, summary_problems
from certify.errors import ArtefactRejected, CertifyError, Exit, SignatureFailed, Unsound
from certify.reporting.schema import Report, rules_digest
from certify.verdict import Verdict
from certify.versions import Writer

__all__ = ["Item", "Outcome", "Scene", "Signature", "audit", "exit_code", "replayed", "require", "skipped"]

# What weighs most, first.
_WEIGHT = (Exit.SOUNDNESS_VIOLATION, Exit.HASH_MISMATCH, Exit.ARTEFACT_REJECTED, Exit.FAILED)


@dataclass(frozen=True)
class Signature:
    """Where an attestation and the key that must have signed it are."""

    attestation: Path
    key: Path


def audit(data: bytes, signature: Signature | None = None) -> tuple[Report, list[Item]]:
    """Check all of a report that needs nothing else: bytes, signature, every number and its evidence.

    Raises ``ArtefactRejected`` for bytes that are no report, or not in its form to the last byte.
    """
    report = Report.from_bytes(data)
    items = [
        item("form", "canonical bytes that follow the schema", []),
        _signature(data, signature),
        _policy(report),
        item(
            "soundness",
            "no sample is both proved and attacked",
            evidence.contradictions(report),
            Exit.SOUNDNESS_VIOLATION,
        ),
        item("rates", "all counts, rates and intervals follow from the samples", rate_problems(report)),
        item("tables", "all tables follow from the samples", table_problems(report)),
        _texts(report),
        item("evidence", "every verdict has its finding", evidence.evidence_problems(report)),
        item("gallery", "the counterexamples shown are those found", evidence.gallery_problems(report)),
    ]
    if report.smoothing:
        items.append(item("certified accuracy", "follows from the radii", summary_problems(report)))
    for model in report.smoothing:
        what = f"radii (sigma {model.sigma:g})"
        if recomputable(model):
            items.append(
                item(what, "follow from the votes that were counted", radius_problems(report, model))
            )
        else:
            reason = f"{model.mode} under {model.law} is not known here; replay certificates"
            items.append(skipped(what, reason))
    return report, items


def replayed(scene: Scene, folder: Path | None, k: int, seed: int) -> list[Item]:
    """Check a report against its model and data: digests, answers, all counterexamples, k certificates.

    folder: the run folder, which holds the counterexamples that the report does not show. seed: of the draw
    of certificates and of new votes.
    """
    report = scene.report
    identity = item(
        "identity",
        "model, data and configuration are those of the report",
        replay.identity_problems(scene),
        Exit.HASH_MISMATCH,
    )
    if identity.outcome is Outcome.FAILED:
        return [identity]  # whatever is replayed on something else says nothing
    known = replay.witnesses(report, folder)
    rows = replay.replayable(report, known)
    missing = sum(row.witness_sha256 is not None for row in report.samples) - len(rows)
    proofs, drawn = replay.certificates(report, k, seed), replay.radii(report, k, seed)
    items = [
        identity,
        item("facts", "what is said of model, data and settings is so", replay.fact_problems(scene)),
        item("answers", "the model's answers are as recorded", replay.prediction_problems(scene)),
    ]
    if rows:
        problems = replay.counterexample_problems(scene, rows, known)
        items.append(
            item("counterexamples", f"{len(rows)} lie in their region and change the answer", problems)
        )
    if missing:
        items.append(skipped("counterexamples", f"{missing} are not in the report; give their run folder"))
    if proofs:
        problems = replay.certificate_problems(scene, proofs)
        items.append(item("certificates", f"{len(proofs)} drawn at random were proved again", problems))
    elif any(row.verdict is Verdict.VERIFIED for row in report.samples):
        items.append(skipped("certificates", "none were drawn; ask for some with --samples"))
    if files := held(report):
        if folder is None:
            items.append(skipped("proofs", f"{len(files)} are in the run folder; give it"))
        else:
            sentence = f"{len(files)} are accepted, each about its sample"
            items.append(item("proofs", sentence, held_problems(scene, folder)))
    if drawn:
        problems = replay.radius_replay_problems(scene, drawn, seed)
        items.append(item("radii", f"{len(drawn)} drawn at random agree with votes drawn anew", problems))
    return items


def require(report: Report, title: str) -> None:
    """Refuse a report whose parts do not agree: nothing may be concluded from its numbers.

    Raises ``Unsound`` for verdicts that contradict each other where the report calls itself valid,
    ``SignatureFailed`` for hashes and ``ArtefactRejected`` for numbers that are not those of the evidence.
    """
    _, items = audit(report.to_bytes())
    kinds = {Exit.SOUNDNESS_VIOLATION: Unsound, Exit.HASH_MISMATCH: SignatureFailed}
    for each in items:
        told = each.code is Exit.SOUNDNESS_VIOLATION and report.status == "INVALID"
        if each.outcome is Outcome.FAILED and not told:
            raise kinds.get(each.code, ArtefactRejected)(f"{title}: {each.what}: {each.sentence}")


def exit_code(items: Sequence[Item]) -> Exit:
    """The weightiest code of what failed; PASS where nothing did."""
    failed = {each.code for each in items if each.outcome is Outcome.FAILED}
    return next((code for code in _WEIGHT if code in failed), Exit.PASS)


def _signature(data: bytes, signature: Signature | None) -> Item:
    if signature is None:
        return skipped("signature", "no key was given, so whoever can write the file may have written it")
    # imported here, because only signatures need the extra
    from certify.signing import read_public, verify
    from certify.signing.statement import check_subject

    key = read_public(signature.key)
    try:
        result = check_subject(verify(_read(signature.attestation), key), data)
    except CertifyError as error:
        return item("signature", "", [str(error)], Exit.HASH_MISMATCH)
    return item("signature", f"the key has signed these bytes; it attests {result}", [])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SignatureFailed(f"{path} cannot be read: {error.strerror}; the report is not signed") from error


def _texts(report: Report) -> Item:
    """Sentences are those of the version that wrote them; another version's may differ."""
    problems = list(text_problems(report))
    ours = Writer.here().versions["certify"]
    others = {each.versions.get("certify", "unknown") for each in report.writers} - {ours}
    if problems and others:
        return skipped(
            "texts", f"written by version {', '.join(sorted(others))}, this is {ours}: {problems[0]}"
        )
    return item("texts", "sentences, method cards and compliance maps are those of this version", problems)


def _policy(report: Report) -> Item:
    if report.policy is None:
        return skipped("policy", "the report was not judged by one")
    told, found = report.policy.sha256, rules_digest(report.policy.rules)
    problems = [] if told == found else [f"the rules have digest {found[:12]}, the report says {told[:12]}"]
    return item("policy", "the rules are those of the digest", problems, Exit.HASH_MISMATCH)
