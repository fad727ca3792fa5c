"""``certify check``: a report or a proof verified by someone who trusts neither the file nor who made it."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from certify.cli.run import TRUST_CODE
from certify.errors import ArtefactRejected, UsageError

if TYPE_CHECKING:
    from certify.audit import Item

HELP = "verify a report (signature, hashes, every number, its evidence) or a proof with its network"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("report", type=Path, metavar="FILE", help="a report, or a proof by `certify verify`")
    parser.add_argument(
        "--network", type=Path, metavar="NET.onnx", help="for a proof: the network that it should be about"
    )
    parser.add_argument(
        "--property",
        type=Path,
        metavar="PROP.vnnlib",
        help="for a proof: the property that it should be about",
    )
    parser.add_argument("--key", type=Path, metavar="KEY.pub", help="the key that must have signed it")
    parser.add_argument(
        "--attestation",
        type=Path,
        metavar="FILE",
        help="the signed attestation (default: attestation.dsse.json beside the report)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="CONFIG.toml",
        help="the configuration, with model and data: replay counterexamples and certificates",
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="RUN",
        help="the run folder, for counterexamples that the report does not show",
    )
    parser.add_argument(
        "--samples", type=int, default=5, metavar="K", help="certificates to replay (default: %(default)s)"
    )
    parser.add_argument("--trust-code", action="store_true", help=TRUST_CODE)
    parser.add_argument(
        "--seed", type=int, help="of the draw of certificates and of new votes (default: a random one)"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.audit import Scene, Signature, audit, replayed, skipped
    from certify.audit.proofs import examined, is_proof

    path: Path = arguments.report
    if arguments.samples < 0:
        raise UsageError(f"--samples is {arguments.samples}; give a number of certificates >= 0")
    attestation = arguments.attestation or path.with_name("attestation.dsse.json")
    signature = None if arguments.key is None else Signature(attestation, arguments.key)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtefactRejected(f"{path} cannot be read: {error.strerror}") from error
    if is_proof(data):
        if arguments.network is None:
            raise UsageError(f"{path} is a proof; give its network with --network")
        return _printed(examined(data, arguments.network, arguments.property))
    report, items = audit(data, signature)
    if arguments.config is not None:
        # nobody who made the report can know which certificates will be looked at
        seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
        scene = Scene.of(report, arguments.config, trust_code=arguments.trust_code)
        print(f"seed: {seed}")
        items += replayed(scene, arguments.run, arguments.samples, seed)
    else:
        items.append(skipped("replay", "no configuration was given, so model and data were not looked at"))
    return _printed(items)


def _printed(items: Sequence[Item]) -> int:
    from certify.audit import exit_code

    for each in items:
        print(f"{each.outcome.value:12} {each.what}: {each.sentence}")
    return exit_code(items)
