"""``certify keygen``: a pair of keys for signed attestations."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.errors import Exit

HELP = "make an ed25519 key to sign attestations with, and the public key to check them by"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "key", type=Path, metavar="KEY", help="file of the private key; the public one is KEY.pub"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.signing import generate

    public = generate(arguments.key)
    print(f"private key: {arguments.key} (keep it secret)\npublic key: {public}")
    return Exit.PASS
