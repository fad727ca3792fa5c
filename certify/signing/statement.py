"""The in-toto statement of a judgement: predicate test-result v0.1 about the report and the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from certify.errors import ArtefactRejected, SignatureFailed
from certify.gate import Judgement, Outcome

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
REPORT = "report.json"
# The digest of a model is over graph, exact weights and preprocessing, so it is not that of any file.
_MODEL_DIGEST = "certifyModelSha256"


def statement(judgement: Judgement, report: bytes, files: Mapping[str, str]) -> dict[str, Any]:
    """What is attested of a judgement.

    report: the bytes of ``report.json``. files: of the model, by their names the SHA-256 of those that were
    loaded, where they are at hand.
    """
    model = judgement.report.model
    names = {outcome: [r.rule for r in judgement.rulings if r.outcome is outcome] for outcome in Outcome}
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": REPORT, "digest": {"sha256": _sha256(report)}},
            {"name": model.name, "digest": {_MODEL_DIGEST: model.sha256}},
            *({"name": name, "digest": {"sha256": digest}} for name, digest in files.items()),
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "result": judgement.result,
            "configuration": [
                {
                    "name": judgement.policy.name,
                    "digest": {"sha256": judgement.policy.digest()},
                    "annotations": _annotations(judgement),
                }
            ],
            "passedTests": names[Outcome.PASSED],
            "warnedTests": names[Outcome.WAIVED],
            "failedTests": [*names[Outcome.FAILED], *names[Outcome.INCONCLUSIVE]],
        },
    }


def check_subject(found: Mapping[str, Any], report: bytes) -> str:
    """The result that a statement attests of these bytes of a report, with profile, day and waivers.

    Raises ``SignatureFailed`` where it speaks of other bytes, ``ArtefactRejected`` for no test result.
    """
    try:
        kind, predicate = (found["_type"], found["predicateType"]), found["predicate"]
        (subject, *_) = (each for each in found["subject"] if each["name"] == REPORT)  # ours is the first
        digest, result = subject["digest"]["sha256"], str(predicate["result"])
        told = predicate["configuration"][0]["annotations"]
        how = f"{result} ({told['profile']} profile, on {told['day']}, {len(told['waivers'])} rules waived)"
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtefactRejected("the attestation is no test result of a report") from error
    if kind != (STATEMENT, PREDICATE):
        raise ArtefactRejected(f"the attestation is of another kind: {kind}")
    ours = _sha256(report)
    if digest != ours:
        raise SignatureFailed(
            f"the attestation is about another report (sha256 {digest[:12]}, this one has {ours[:12]})"
        )
    return how


def _annotations(judgement: Judgement) -> dict[str, Any]:
    policy = judgement.report.policy
    return {
        "profile": judgement.profile.value,
        "exit": int(judgement.exit),
        "day": judgement.day.isoformat(),
        "fixedBeforeRun": policy is not None and policy.fixed_before_run,
        "reportDigest": judgement.report.digest(),
        "waivers": [each.model_dump(mode="json") for each in judgement.waivers],
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
