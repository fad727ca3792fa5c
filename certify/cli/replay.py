"""``certify replay``: a contradiction between certificate and attack, looked at again."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.cli.run import TRUST_CODE
from certify.errors import Exit

HELP = "ask the certifier again and replay the counterexample of a contradiction-*.npz file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", type=Path, metavar="FILE.npz", help="a reproducer that a run has written")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="the configuration of that run")
    parser.add_argument("--trust-code", action="store_true", help=TRUST_CODE)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command: exit code 6 where the contradiction is still there, 0 where it is not."""
    from certify.config import read_config
    from certify.contradiction import Reproducer
    from certify.crosscheck import replay
    from certify.job import prepare
    from certify.run import Run

    recorded = Reproducer.load(arguments.file)
    job = prepare(read_config(arguments.config).trusting(arguments.trust_code))
    now = replay(recorded, job.model.to("cpu"), job.config.deciders, Run(seed=recorded.seed))
    print(f"recorded: {recorded}")
    print(f"now: {now or 'no contradiction: the certificate or the counterexample is gone'}")
    return Exit.PASS if now is None else Exit.SOUNDNESS_VIOLATION
