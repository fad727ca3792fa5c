"""Signed statements: what is signed cannot be changed, and other keys do not fit."""

import base64
import datetime
import hashlib
import json
import stat
import subprocess
import sys

import pytest

from certify.errors import ArtefactRejected, SignatureFailed, UsageError
from certify.gate import Policy, judge
from certify.signing import generate, read_private, read_public, sign, statement, verify
from certify.signing.statement import check_subject
from tests.certify.reports import report

RULE = {"id": "proof", "kind": "verified-accuracy", "norm": "linf", "eps": 0.1, "at_least": 0.5}
POLICY = Policy.model_validate({"name": "p", "rules": [RULE]})


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key"
    return path, generate(path)


@pytest.fixture
def judged():
    return judge(report({0.1: "v" * 20}, POLICY), POLICY, datetime.date(2026, 6, 1))


def signed(judged, keys):
    return sign(statement(judged, judged.report.to_bytes(), {}), read_private(keys[0]))


def test_what_was_signed_comes_back(judged, keys):
    made = statement(judged, judged.report.to_bytes(), {"net.onnx": "9f" * 32})
    found = verify(sign(made, read_private(keys[0])), read_public(keys[1]))
    assert found == made
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    digests = {each["name"]: each["digest"] for each in found["subject"]}
    assert digests["report.json"] == {"sha256": hashlib.sha256(judged.report.to_bytes()).hexdigest()}
    assert digests["net.onnx"] == {"sha256": "9f" * 32}
    assert found["predicate"]["result"] == "PASSED"
    assert "proof" in found["predicate"]["passedTests"]
    assert check_subject(found, judged.report.to_bytes()).startswith("PASSED (")


def test_openssl_style_verification_of_the_published_protocol(judged, keys):
    """The signature is plain ed25519 over the protocol's bytes, rebuilt here from its text."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    envelope = json.loads(signed(judged, keys))
    kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
    text = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    (signature,) = envelope["signatures"]
    load_pem_public_key(keys[1].read_bytes()).verify(base64.b64decode(signature["sig"]), text)


def test_any_changed_byte_of_the_envelope_fails(judged, keys):
    data, key = signed(judged, keys), read_public(keys[1])
    hint = range(data.index(b'"keyid"'), data.index(b',"sig"'))
    for place in range(0, len(data), 3):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            found = verify(changed, key)
        except (SignatureFailed, ArtefactRejected):
            continue
        assert found == verify(data, key)
        assert place in hint  # the key's name alone is not signed


def test_another_key_does_not_fit(judged, keys, tmp_path):
    other = generate(tmp_path / "other")
    with pytest.raises(SignatureFailed, match="signed by another"):
        verify(signed(judged, keys), read_public(other))


def test_an_attestation_of_another_report_is_refused(judged, keys):
    found = verify(signed(judged, keys), read_public(keys[1]))
    with pytest.raises(SignatureFailed, match="another report"):
        check_subject(found, report({0.1: "v" * 21}).to_bytes())
    with pytest.raises(ArtefactRejected, match="no test result"):
        check_subject({}, b"")


def test_keys_are_private_and_never_overwritten(keys, tmp_path):
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="never overwritten"):
        generate(keys[0])
    for read, path in ((read_private, keys[1]), (read_public, keys[0])):
        with pytest.raises(ArtefactRejected):
            read(path)
    with pytest.raises(ArtefactRejected, match="cannot be read"):
        read_public(tmp_path / "missing")


def test_without_the_extra_the_error_names_it(tmp_path):
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path\n"
        "from certify.errors import UsageError\n"
        "from certify.signing import generate\n"
        f"try: generate(Path({str(tmp_path / 'k')!r}))\n"
        "except UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "certify-bounds[sign]" in done.stdout
