"""``certify run``: the main job, from a configuration to a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.errors import Contradiction, Exit

HELP = "certify and attack the samples of a configuration; run again to resume"

TRUST_CODE = "take a .pt2 or TorchScript model too: it is code and runs with your rights"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="what to evaluate (see the README)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run folder; made if missing")
    parser.add_argument(
        "--policy", type=Path, metavar="POLICY.toml", help="fix the rules of a later `certify gate` now"
    )
    parser.add_argument("--trust-code", action="store_true", help=TRUST_CODE)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return evaluate(arguments.config, arguments.out, arguments.policy, trust_code=arguments.trust_code)


def evaluate(config: Path, folder: Path, policy: Path | None = None, *, trust_code: bool = False) -> int:
    """Fill the run folder, write its outputs, and show what they tell."""
    from certify.cli.console import show
    from certify.cli.progress import progress
    from certify.config import read_config
    from certify.gate import read_policy
    from certify.job import fill, prepare
    from certify.reporting import Contents, write_all

    rules = None if policy is None else read_policy(policy).record()
    job = prepare(read_config(config).trusting(trust_code))
    section = job.config.report
    contents = Contents(section.gallery, section.maps, section.times)
    try:
        with progress() as listener:
            fill(job, folder, listener, rules)
    except Contradiction:  # all that was computed is told all the same
        show(write_all(folder, contents), folder)
        raise
    show(write_all(folder, contents), folder)
    return Exit.PASS
