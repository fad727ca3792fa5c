"""Ed25519 keys as PEM files. Needs the extra ``sign`` (cryptography)."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from certify.errors import ArtefactRejected, CertifyError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def generate(path: Path) -> Path:
    """Write a new private key to ``path``, readable by its owner alone, and the public one to ``path.pub``.

    Returns the path of the public key. Raises ``UsageError`` where one of the files exists or the extra is
    missing, ``CertifyError`` where they cannot be written.
    """
    require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(path.name + ".pub")
    for each in (path, public):
        if each.exists():
            raise UsageError(f"{each} exists; a key is never overwritten, choose another name")
    key = Ed25519PrivateKey.generate()
    private_bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private_bytes)
        public.write_bytes(_public_pem(key.public_key()))
    except OSError as error:
        raise CertifyError(
            f"{path} cannot be written: {error.strerror}; check disk space and rights"
        ) from error
    return public


def read_private(path: Path) -> Ed25519PrivateKey:
    """Read a private key; raises ``ArtefactRejected`` for what is none, ``UsageError`` without the extra."""
    require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise ArtefactRejected(f"{path} holds no unencrypted private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ArtefactRejected(f"{path} is no ed25519 key; make one with `certify keygen`")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """Read a public key; raises ``ArtefactRejected`` for what is none, ``UsageError`` without the extra."""
    require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError as error:
        raise ArtefactRejected(f"{path} holds no public key: {error}; give the .pub file") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ArtefactRejected(f"{path} is no ed25519 key; make one with `certify keygen`")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256, in hex, of the public key's PEM text: a name for it, not a proof of anything."""
    return hashlib.sha256(_public_pem(key)).hexdigest()


def require_cryptography() -> None:
    """Raises ``UsageError`` that names the extra where ``cryptography`` is not installed."""
    if find_spec("cryptography") is None:
        raise UsageError("signatures need the extra 'sign': pip install 'certify-bounds[sign]'")


def _public_pem(key: Ed25519PublicKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactRejected(f"{path} cannot be read: {error.strerror}") from error
