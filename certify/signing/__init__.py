"""Signed statements: in-toto test results in DSSE envelopes, signed with ed25519; works without a network."""

from certify.signing.dsse import sign, verify
from certify.signing.keys import generate, key_id, read_private, read_public
from certify.signing.oms import verify_model
from certify.signing.statement import statement

__all__ = ["generate", "key_id", "read_private", "read_public", "sign", "statement", "verify", "verify_model"]
