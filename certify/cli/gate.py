"""``certify gate``: may this model pass? A policy judged on a run, with an exit code for each answer."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from certify.cli.run import TRUST_CODE
from certify.errors import ArtefactRejected, CertifyError, Contradiction, RunMismatch, UsageError

if TYPE_CHECKING:
    from certify.config import Config
    from certify.gate import Judgement, Policy, Profile
    from certify.reporting import Report

HELP = "judge a run by a policy: rules on confidence bounds, waivers, profiles; exit codes tell the answer"
ATTESTATION = "attestation.dsse.json"


class _Case(NamedTuple):
    """What is judged. folder: that answers go into. files: digests of the model's, where they were loaded.

    alone: whether the report came as a file, whose evidence is elsewhere.
    """

    report: Report
    folder: Path
    files: Mapping[str, str]
    alone: bool = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "target",
        type=Path,
        metavar="RUN|CONFIG.toml|REPORT.json",
        help="a run folder; a configuration, which is run first (see --out); or a report",
    )
    parser.add_argument("--policy", type=Path, required=True, metavar="POLICY.toml", help="see the README")
    parser.add_argument(
        "--profile",
        choices=("quick", "standard", "release"),
        help="how it is judged (default: the policy's); quick never attests a pass",
    )
    parser.add_argument("--baseline", type=Path, metavar="RUN|REPORT.json", help="for rules that compare")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder of a configuration")
    parser.add_argument("--sign", type=Path, metavar="KEY", help=f"write a signed {ATTESTATION}")
    parser.add_argument(
        "--model-signature",
        type=Path,
        metavar="FILE",
        help="an OpenSSF model signature that the model's file must have to be loaded (see --model-key)",
    )
    parser.add_argument(
        "--model-key", type=Path, metavar="KEY.pub", help="whose signature of the model it is"
    )
    parser.add_argument("--trust-code", action="store_true", help=TRUST_CODE)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.audit import require
    from certify.cli.sources import report_at
    from certify.gate import Profile, judge, read_policy
    from certify.signing import read_private

    policy = read_policy(arguments.policy)
    profile = policy.profile if arguments.profile is None else Profile(arguments.profile)
    key = None if arguments.sign is None else read_private(arguments.sign)
    case = _case(arguments, policy, profile)
    require(case.report, str(arguments.target))
    baseline = None if arguments.baseline is None else report_at(arguments.baseline)
    today = datetime.datetime.now(datetime.UTC).date()
    judged = judge(case.report, policy, today, baseline, profile)
    _write(judged, case)
    if key is not None:
        from certify.signing import sign, statement

        attested = sign(statement(judged, case.report.to_bytes(), case.files), key)
        _save(case.folder / ATTESTATION, attested)
    _tell(judged, case)
    return judged.exit


def _case(arguments: argparse.Namespace, policy: Policy, profile: Profile) -> _Case:
    from certify.config import read_config
    from certify.ledger import Ledger
    from certify.reporting import Report

    target, out = arguments.target, arguments.out
    if target.suffix == ".toml":
        if out is None:
            raise UsageError(f"{target} is to be run; give its run folder with --out DIR")
        config = read_config(target).trusting(arguments.trust_code)
        return _run(config, out, policy, profile, _vouched(arguments, config.model.path))
    if arguments.model_signature is not None:
        raise UsageError("--model-signature is checked before the model is loaded; give the configuration")
    if out is not None:
        raise UsageError("--out is the run folder of a configuration; leave it out")
    if not target.is_dir():
        if arguments.sign is not None:
            raise UsageError(f"{target} is a file, whose evidence is elsewhere; sign where its run folder is")
        return _Case(Report.read(target), target.parent, {}, alone=True)
    with Ledger.read(target) as ledger:
        ledger.record_policy(policy.record())
    return _Case(_current(target), target, {})


def _current(folder: Path) -> Report:
    """The report of a run folder; its files are written again only where another one lies there."""
    from certify.reporting import REPORT, report_of, write_all

    report, path = report_of(folder), folder / REPORT
    written = path.is_file() and path.read_bytes() == report.to_bytes()
    return report if written else write_all(folder)


def _vouched(arguments: argparse.Namespace, model: Path) -> dict[str, str]:
    """Digests of the model's file and of its signature, if one is given and holds."""
    from certify.signing import verify_model

    digests = {model.name: _digest(model)}
    signature, key = arguments.model_signature, arguments.model_key
    if (signature is None) != (key is None):
        raise UsageError("--model-signature and --model-key belong together; give both")
    if signature is not None:
        verify_model(model, signature, key)
        digests[signature.name] = _digest(signature)
        print(f"{model.name} is what {key} has signed")
    return digests


def _run(config: Config, folder: Path, policy: Policy, profile: Profile, digests: Mapping[str, str]) -> _Case:
    """Fill the run folder, after the policy's rules are recorded there."""
    from certify.cli.progress import progress
    from certify.gate.profile import QUICK_SAMPLES, Profile
    from certify.job import fill, prepare
    from certify.reporting import write_all

    if profile is Profile.QUICK:
        few = min(config.data.limit or QUICK_SAMPLES, QUICK_SAMPLES)
        config = config.model_copy(update={"data": config.data.model_copy(update={"limit": few})})
    job = prepare(config)
    try:
        with progress() as listener:
            fill(job, folder, listener, policy.record())
    except Contradiction:
        pass  # the report tells of it, and the judgement follows the report
    path = config.model.path
    if _digest(path) != digests[path.name]:
        raise RunMismatch(f"{path} was changed while it was evaluated; keep it as it is and run again")
    return _Case(write_all(folder), folder, digests)


def _digest(path: Path) -> str:
    """SHA-256 of a file, in hex; raises ``ArtefactRejected`` for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtefactRejected(f"{path} cannot be read: {error.strerror}") from error


def _write(judged: Judgement, case: _Case) -> None:
    from certify.formats import junit, mlbom

    record = json.dumps(judged.record(), indent=2, sort_keys=True, allow_nan=False) + "\n"
    _save(case.folder / "gate.json", record.encode())
    _save(case.folder / "junit.xml", junit(judged))
    _save(case.folder / "mlbom.cdx.json", mlbom(case.report))


def _save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CertifyError(
            f"{path} cannot be written: {error.strerror}; check disk space and rights"
        ) from error


def _tell(judged: Judgement, case: _Case) -> None:
    for each in judged.rulings:
        print(f"{each.outcome.value:12} {each.rule}: {each.sentence}")
    for contradiction in judged.report.contradictions:
        print(contradiction.sentence)
    if case.alone:
        print("judged by the report's own word: its evidence is not at hand; see `certify check`")
    answer = judged.exit.name.lower().replace("_", " ")
    print(
        f"{answer} ({judged.profile.value} profile, attested as {judged.result}): {case.folder / 'gate.json'}"
    )
