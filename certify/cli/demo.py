"""``certify demo``: the main job on a small network and images that come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "certify and attack a small network that comes with the package (under two minutes)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("certify-demo"),
        metavar="DIR",
        help="run folder (default: %(default)s)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.cli.run import evaluate
    from certify.demo import CONFIG

    return evaluate(CONFIG, arguments.out)
