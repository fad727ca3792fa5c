"""Signatures of models in the format of OpenSSF Model Signing, through a stand-in for its package."""

import hashlib
import sys
from types import ModuleType

import pytest
from cryptography.exceptions import InvalidSignature

import certify.reporting
from certify.cli import main
from certify.errors import Exit, SignatureFailed, UsageError
from certify.signing import verify_model
from certify.signing.dsse import verify
from certify.signing.keys import read_public
from tests.certify.cli import project


class Config:
    """Takes a file for signed whose SHA-256 the signature is, by the key named in it."""

    def use_elliptic_key_verifier(self, public_key):
        self.key = public_key
        return self

    def verify(self, model, signature):
        digest, owner = signature.read_text().split()
        if owner != self.key.name:
            raise InvalidSignature
        if hashlib.sha256(model.read_bytes()).hexdigest() != digest:
            raise ValueError("Signature mismatch: 'net.onnx'")


@pytest.fixture
def signed(tmp_path, monkeypatch):
    """A project whose network is signed."""
    package, verifying = ModuleType("model_signing"), ModuleType("model_signing.verifying")
    verifying.Config = Config
    monkeypatch.setitem(sys.modules, "model_signing", package)
    monkeypatch.setitem(sys.modules, "model_signing.verifying", verifying)
    monkeypatch.setattr(certify.reporting, "render", lambda report, folder: None)
    project.make(tmp_path)
    digest = hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    (tmp_path / "model.sig").write_text(f"{digest} owner.pub")
    return tmp_path


def test_what_is_signed_is_told_from_what_is_not(signed):
    model, signature = signed / "net.onnx", signed / "model.sig"
    verify_model(model, signature, signed / "owner.pub")
    with pytest.raises(SignatureFailed, match="not that of the key"):
        verify_model(model, signature, signed / "other.pub")
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(SignatureFailed, match=r"Signature mismatch: 'net\.onnx'"):
        verify_model(model, signature, signed / "owner.pub")
    with pytest.raises(SignatureFailed):
        verify_model(model, signed / "none.sig", signed / "owner.pub")


def test_without_the_package_it_is_named(signed, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(UsageError, match="extra 'model-signing'"):
        verify_model(signed / "net.onnx", signed / "model.sig", signed / "owner.pub")


RULES = 'name = "p"\n[[rules]]\nid = "clean"\nkind = "clean-accuracy"\nat_least = 0.1\n'


def test_the_gate_runs_signed_models_alone_and_attests_their_signature(signed, capsys):
    (signed / "policy.toml").write_text(RULES)
    assert main(["keygen", str(signed / "key")]) == 0
    out = signed / "run"
    command = [
        "gate",
        str(signed / "config.toml"),
        "--policy",
        str(signed / "policy.toml"),
        "--out",
        str(out),
    ]
    command += ["--sign", str(signed / "key"), "--model-signature", str(signed / "model.sig")]
    assert main([*command, "--model-key", str(signed / "other.pub")]) == Exit.HASH_MISMATCH
    assert not out.exists()
    assert main(command) == Exit.USAGE
    assert main([*command, "--model-key", str(signed / "owner.pub")]) == Exit.PASS
    assert "net.onnx is what" in capsys.readouterr().out
    found = verify((out / "attestation.dsse.json").read_bytes(), read_public(signed / "key.pub"))
    digests = {each["name"]: each["digest"].get("sha256") for each in found["subject"][2:]}
    assert digests == {
        name: hashlib.sha256((signed / name).read_bytes()).hexdigest() for name in ("net.onnx", "model.sig")
    }
