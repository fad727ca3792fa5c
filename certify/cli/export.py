"""``certify export``: the queries of a run as VNN-LIB, with their answers, for other verifiers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from certify.cli.run import TRUST_CODE
from certify.errors import Exit, RunMismatch, UsageError

if TYPE_CHECKING:
    from certify.rows import VerdictRow

HELP = "write each Linf query of a run as VNN-LIB, with its answer and counterexample in competition format"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="the configuration of that run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--trust-code", action="store_true", help=TRUST_CODE)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    import torch

    from certify.config import read_config
    from certify.formats import not_expressible, query_text, result_text
    from certify.job import prepare
    from certify.ledger import Ledger
    from certify.model import BINARY_HEAD
    from certify.reporting.findings import Findings
    from certify.verdict import Verdict

    config = read_config(arguments.config).trusting(arguments.trust_code)
    if config.model.mean is not None or config.model.std is not None:
        raise UsageError(
            "the model normalises its inputs, which VNN-LIB cannot say; make it a part of the ONNX file"
        )
    reason = not_expressible(config.threat_at(config.budgets[0]))
    if reason is not None:
        raise UsageError(reason)
    job = prepare(config)
    graph = job.model.graph
    if graph is not None and graph.nodes[graph.output].name == BINARY_HEAD:
        raise UsageError(
            "the network has one output, taken for the logits 0 and z, and VNN-LIB speaks of the file's own; "
            "make the two a part of the ONNX file"
        )
    with Ledger.read(arguments.run) as ledger:
        if ledger.identity != job.identity:
            raise RunMismatch(f"{arguments.run} belongs to another model, data or configuration")
        rows = Findings.of(ledger).verdicts  # nothing counts of a sample that was proved and attacked
    folder: Path = arguments.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made a folder of queries: {error.strerror}") from error
    model, data = job.model.to("cpu"), job.data
    for row in rows:
        x, y = data.x[row.sample], int(data.y[row.sample])
        # where the sample itself is wrong, it is the counterexample
        clean = x if row.verdict is Verdict.MISCLASSIFIED else None
        witness = clean if row.witness is None else torch.from_numpy(row.witness.copy())
        stem = f"sample-{row.sample}-eps-{row.eps!r}"
        (folder / f"{stem}.vnnlib").write_text(query_text(model, x, y, config.threat_at(row.eps)))
        answer = result_text(model, witness, row.verdict is Verdict.VERIFIED and _is_proved(row))
        (folder / f"{stem}.result").write_text(answer)
    print(f"{len(rows)} queries of {config.model.path.name}: {folder}")
    return Exit.PASS


def _is_proved(row: VerdictRow) -> bool:
    """Whether "unsat" may stand for it, which knows neither levels nor chances."""
    from bounds.rounding import Level

    return row.level in (Level.REAL, Level.DEPLOYED) and row.alpha == 0
