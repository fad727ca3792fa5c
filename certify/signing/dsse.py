"""DSSE 1.0: envelopes whose signature covers type and payload together."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from certify.errors import ArtefactRejected, SignatureFailed
from certify.reporting.canonical import canonical
from certify.signing.keys import key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sign(statement: dict[str, Any], key: Ed25519PrivateKey) -> bytes:
    """The envelope of a statement as JSON text."""
    payload = canonical(statement)
    signature = key.sign(_pre_authentication(PAYLOAD_TYPE, payload))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode()},
        ],
    }
    return canonical(envelope)


def verify(envelope: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """The statement of an envelope that this key has signed.

    Key ids in the envelope are hints and play no part. Raises ``ArtefactRejected`` for what is no envelope of
    an in-toto statement, ``SignatureFailed`` where no signature is that of the key.
    """
    from cryptography.exceptions import InvalidSignature

    kind, payload, signatures = _opened(envelope)
    signed = _pre_authentication(kind, payload)
    for signature in signatures:
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return _statement(kind, payload)
    raise SignatureFailed(
        "no signature of the attestation is that of the key: it was changed, or signed by another"
    )


def _pre_authentication(kind: str, payload: bytes) -> bytes:
    """What is signed: PAE of the DSSE protocol."""
    head = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(head), head, len(payload), payload)


def _opened(envelope: bytes) -> tuple[str, bytes, list[bytes]]:
    try:
        value = json.loads(envelope)
        kind = str(value["payloadType"])
        payload = _decoded(value["payload"])
        signatures = [_decoded(each["sig"]) for each in value["signatures"]]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise ArtefactRejected(
            "the attestation is no DSSE envelope; give the file as it was written"
        ) from error
    return kind, payload, signatures


def _decoded(text: str) -> bytes:
    """Base64 as it is written, without spare bits that would make one signature many."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("spare bits in base64")
    return data


def _statement(kind: str, payload: bytes) -> dict[str, Any]:
    if kind != PAYLOAD_TYPE:
        raise ArtefactRejected(f"the attestation holds {kind!r}, not an in-toto statement")
    statement = json.loads(payload)
    if not isinstance(statement, dict):
        raise ArtefactRejected("the attestation holds no in-toto statement")
    return statement
