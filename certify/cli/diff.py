"""``certify diff``: what changed between two runs, sample by sample."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from certify.errors import Exit

if TYPE_CHECKING:
    from certify.gate.difference import Difference

HELP = "tell what changed between two runs or checkpoints on the same data, sample by sample"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    for name in ("before", "after"):
        parser.add_argument(name, type=Path, metavar=f"{name.upper()}", help="a run folder or a report.json")
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.cli.sources import report_at
    from certify.gate.difference import difference

    found = difference(report_at(arguments.before), report_at(arguments.after))
    if arguments.json:
        print(json.dumps(found.record(), indent=2, allow_nan=False))
    else:
        _tell(found)
    return Exit.PASS


def _tell(found: Difference) -> None:
    print(f"before: {found.before}\nafter:  {found.after}")
    for note in found.notes:
        print(f"note: {note}")
    for (eps, before, after), count in found.transitions().items():
        print(f"eps {eps:g}: {count} from {before.value} to {after.value}")
    for each in found.changes:
        old, new = ("not evaluated" if v is None else v.value for v in (each.before, each.after))
        print(f"  eps {each.eps:g}, sample {each.sample}: {old} -> {new}")
    for radius in found.radii:
        old, new = (f"class {label}, radius {r:g}" for label, r in (radius.before, radius.after))
        print(f"  sigma {radius.sigma:g}, sample {radius.sample}: {old} -> {new}")
    if not found.changes and not found.radii:
        print("no sample changed")
