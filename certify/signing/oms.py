"""Signatures of models by others, as OpenSSF Model Signing has them. Needs the extra ``model-signing``."""

from __future__ import annotations

import importlib
from pathlib import Path

from certify.errors import SignatureFailed, UsageError


def verify_model(model: Path, signature: Path, key: Path) -> None:
    """Check that the owner of an elliptic-curve key has signed a model's file; works without a network.

    signature: as ``model_signing sign key MODEL --signature FILE`` writes it. key: the public one, PEM.
    Raises ``SignatureFailed`` where the file, the signature and the key do not belong together,
    ``UsageError`` without the extra.
    """
    try:
        verifying = importlib.import_module("model_signing.verifying")
    except ImportError as error:
        raise UsageError(
            "signatures of models need the extra 'model-signing': pip install 'certify-bounds[model-signing]'"
        ) from error
    # imported here, because only signatures need it
    from cryptography.exceptions import InvalidSignature

    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
        config.verify(model, signature)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, InvalidSignature) as error:
        reason = str(error) or "the signature is not that of the key"
        raise SignatureFailed(f"{model} is not what {key} has signed: {reason}") from error
