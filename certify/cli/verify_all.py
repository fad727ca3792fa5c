"""``certify verify-all``: every instance of a competition's list, each in a process of its own."""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certify.cli.verify import MOST, positive
from certify.errors import Exit, UsageError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

HELP = "decide every line of an instances.csv (network, property, seconds); run again to resume"

RESULTS, DIGESTS, COUNTEREXAMPLES = "results.csv", "digests.csv", "counterexamples"
_COUNTED = {"unsat": "verified", "sat": "falsified"}
_GRACE = 2.0  # seconds after which a process that does not end by itself is killed
_LOADED = (
    "certify.cli.verify",
    "certify.property",
    "bounds.vnnlib",
    "certify.cli.progress",
    "bounds.trace.onnx",
)


@dataclass(frozen=True)
class Instance:
    """A line of the list: the files as it names them, where they are, and the time limit."""

    network: str
    prop: str
    folder: Path
    seconds: float

    @property
    def names(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.network, self.prop


@dataclass(frozen=True)
class Outcome:
    """A line of the results: a word of VNN-COMP, or "error: ..."; seconds on the wall, start-up included."""

    result: str
    seconds: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "instances", type=Path, metavar="INSTANCES.csv", help="lines of network, property and seconds"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; made if missing")
    parser.add_argument("--timeout", type=positive, metavar="SECONDS", help="instead of the list's own")
    parser.add_argument("--memory", type=positive, metavar="GB", help="memory cap of each (default: none)")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command: 0 once every instance has a result, 7 if some could not be read."""
    instances = read_instances(arguments.instances, arguments.timeout)
    folder: Path = arguments.out
    try:
        (folder / COUNTEREXAMPLES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made a folder of results: {error.strerror}") from error
    digests = _digests(instances)
    found = _of_these_files(folder, digests)
    waiting = [each for each in instances if each.names not in found]
    if len(waiting) < len(instances):
        print(f"{len(instances) - len(waiting)} instances have a result already", file=sys.stderr)
    context, category = _context(), arguments.instances.resolve().parent.name
    for number, each in enumerate(waiting):
        digest = digests[each.names]
        outcome = _decided(
            context, each, folder / COUNTEREXAMPLES / _file_name(each, digest), arguments.memory
        )
        # as in the competitions: category, network, property, seconds to prepare, result, seconds
        _append(folder / DIGESTS, (*each.names, digest))
        _append(folder / RESULTS, (category, *each.names, "0", outcome.result, f"{outcome.seconds:.3f}"))
        found[each.names] = outcome
        print(_progress(instances, waiting[number + 1 :], each, found), file=sys.stderr, flush=True)
    mine = [found[each.names] for each in instances]
    _draw(mine, folder)
    print(_summary(mine, instances))
    print(f"results: {folder / RESULTS}")
    return Exit.ARTEFACT_REJECTED if any(o.result.startswith("error") for o in mine) else Exit.PASS


def read_instances(path: Path, seconds: float | None) -> list[Instance]:
    """The lines of a list; files are named from its folder. Raises ``UsageError`` for what is none."""
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a list of instances: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        network, prop, *rest = (*line, "") if len(line) > 1 else ("", "", "")
        try:
            limit = seconds or float(rest[0])
        except ValueError:
            limit = math.nan
        if len(line) < 2 or not 0 < limit <= MOST:
            raise UsageError(f"line {number} of {path} is not `network, property, seconds`: {','.join(line)}")
        found.append(Instance(network.strip(), prop.strip(), path.resolve().parent, limit))
    if not found:
        raise UsageError(f"{path} lists no instances")
    return list(dict.fromkeys(found))


def read_results(path: Path) -> dict[tuple[str, str], Outcome]:
    """What an earlier run has found; a last line that was cut short counts as not there."""
    return {(row[1], row[2]): Outcome(row[4], float(row[5])) for row in _rows(path, 6)}


def _of_these_files(folder: Path, digests: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], Outcome]:
    """What an earlier run has found, without what it found of files that are others now."""
    then = {(row[0], row[1]): row[2] for row in _rows(folder / DIGESTS, 3)}
    found = read_results(folder / RESULTS)
    changed = {names for names in found.keys() & digests.keys() if then.get(names) != digests[names]}
    if changed:
        print(f"{len(changed)} instances have changed since: they are decided again", file=sys.stderr)
        kept = [row for row in _rows(folder / RESULTS, 6) if (row[1], row[2]) not in changed]
        partial = folder / f"{RESULTS}.partial"
        with partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(kept)
        partial.replace(folder / RESULTS)
    return {names: outcome for names, outcome in found.items() if names not in changed}


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The lines of a table that are whole."""
    if not path.exists():
        return []
    rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if len(row) == columns and row[-1]]


def _append(path: Path, row: Sequence[str]) -> None:
    """A line that is on disk when this returns."""
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write("\n" if torn and path.stat().st_size else "")
        csv.writer(file, lineterminator="\n").writerow(row)
        file.flush()
        os.fsync(file.fileno())


def _digests(instances: Sequence[Instance]) -> dict[tuple[str, str], str]:
    """SHA-256, in hex, of the names of each instance and of what its files hold now, weights included."""
    from bounds.trace.onnxfile import weight_files
    from certify.loading.limits import MAX_BYTES

    files = {path: _file_digest(path) for path in {each.folder / each.prop for each in instances}}
    for network in {each.folder / each.network for each in instances}:
        parts = (network, *weight_files(network, MAX_BYTES))
        files[network] = " ".join(map(_file_digest, parts))
    return {
        each.names: hashlib.sha256(
            "\n".join((*each.names, *(files[each.folder / name] for name in each.names))).encode()
        ).hexdigest()
        for each in instances
    }


def _file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file; of none where it cannot be read: deciding it will say why."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _file_name(each: Instance, digest: str) -> str:
    """Of a counterexample; no other instance's is called so."""
    return f"{Path(each.network).stem}-{Path(each.prop).stem}-{digest[:12]}.txt"


def _context() -> ForkServerContext | SpawnContext:
    """Processes that begin with everything loaded, where the system can."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    return context


def _decided(
    context: ForkServerContext | SpawnContext, each: Instance, answer: Path, memory: float | None
) -> Outcome:
    """One instance in its own process, killed where it does not keep its time."""
    began = time.monotonic()
    answer.unlink(missing_ok=True)
    errors = answer.with_suffix(".error")
    command = ["verify", str(each.folder / each.network), str(each.folder / each.prop)]
    command += ["--timeout", str(each.seconds), "--out", str(answer)]
    command += [] if memory is None else ["--memory", str(memory)]
    process = context.Process(target=_child, args=(command, errors))
    process.start()
    process.join(each.seconds + _GRACE)
    late = process.is_alive()
    if late:
        process.kill()
        process.join()
    seconds = time.monotonic() - began
    said = errors.read_text(encoding="utf-8").strip().splitlines() if errors.exists() else []
    errors.unlink(missing_ok=True)
    text = answer.read_text(encoding="utf-8") if answer.exists() else ""
    result = text.split("\n", 1)[0]
    if result != "sat" or not text.endswith("\n"):
        answer.unlink(missing_ok=True)
    if text.endswith("\n"):  # else it was killed while it wrote
        return Outcome(result, seconds)
    if late:
        return Outcome("timeout", seconds)
    if process.exitcode is not None and process.exitcode < 0 and memory is not None:
        return Outcome("unknown", seconds)  # the system ended it
    return Outcome((said or [f"error: the process ended with {process.exitcode}"])[-1], seconds)


def _child(command: Sequence[str], errors: Path) -> None:
    """What runs in the process; says nothing but into files."""
    from certify.cli import main

    with errors.open("w", encoding="utf-8") as err, open(os.devnull, "w", encoding="utf-8") as out:
        sys.stdout, sys.stderr = out, err
        code = main(command)
    sys.exit(code)


def _progress(
    instances: Sequence[Instance],
    waiting: Sequence[Instance],
    last: Instance,
    found: dict[tuple[str, str], Outcome],
) -> str:
    """The last outcome, all counts so far, and how long the rest may take."""
    done = [found[each.names] for each in instances if each.names in found]
    mean = sum(each.seconds for each in done) / len(done)
    left = sum(min(mean, each.seconds + _GRACE) for each in waiting)
    outcome = found[last.names]
    return (
        f"[{len(done)}/{len(instances)}] {Path(last.network).name} {Path(last.prop).name}: {outcome.result} "
        f"in {outcome.seconds:.1f} s; {_counts(done)}; about {left:.0f} s left"
    )


def _counts(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(_COUNTED.get(each.result, each.result.split(":")[0]) for each in outcomes)
    names = ("verified", "falsified", "unknown", "timeout", "error")
    return ", ".join(f"{counts[name]} {name}" for name in names if counts[name] or name in names[:3])


def _summary(outcomes: Sequence[Outcome], instances: Sequence[Instance]) -> str:
    """Counts, and PAR-2: the mean time where an instance without a verdict counts as twice its limit."""
    times = [
        each.seconds if each.result in _COUNTED else 2 * asked.seconds
        for each, asked in zip(outcomes, instances, strict=True)
    ]
    return f"{_counts(outcomes)} of {len(outcomes)}; PAR-2 {sum(times) / len(times):.2f} s"


def _draw(outcomes: Sequence[Outcome], folder: Path) -> None:
    """The cactus plot and its numbers."""
    from certify.reporting.pictures.settled import cactus_of

    times = {
        word: sorted(each.seconds for each in outcomes if each.result == result)
        for result, word in _COUNTED.items()
    }
    picture = cactus_of({word: seconds for word, seconds in times.items() if seconds}, "instance")
    (folder / "cactus.csv").write_text(picture.csv, encoding="utf-8")
    if any(times.values()):
        (folder / "cactus.svg").write_text(picture.svg(), encoding="utf-8")
