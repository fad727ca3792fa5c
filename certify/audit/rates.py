"""Every count and rate of the network's part of a report, from the verdicts of its samples.

Nothing here is shared with the code that writes reports but the schema and the verdicts' names.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from certify.diagnosis import UNRELIABLE, Outcome
from certify.reporting.schema import Report, SampleVerdict, Share
from certify.threat import THREATS
from certify.verdict import Verdict

_METHOD = "Clopper & Pearson (1934), two-sided"


def rate_problems(report: Report) -> Iterator[str]:
    """What is wrong with the curve, its intervals and what is counted beside it, in sentences."""
    yield from _rows(report)
    yield from _curve(report)
    yield from _classes(report)
    yield from _gap(report)
    yield from _brackets(report)
    yield from _attacks(report)
    yield from _health(report)


def interval(count: int, n: int, confidence: float) -> tuple[float, float]:
    """Clopper & Pearson (1934), two-sided: quantiles of the beta law."""
    from scipy.stats import beta  # slow to load

    alpha = 1 - confidence
    low = 0.0 if count == 0 else float(beta.ppf(alpha / 2, count, n - count + 1))
    high = 1.0 if count == n else float(beta.ppf(1 - alpha / 2, count + 1, n - count))
    return low, high


def share_problems(what: str, share: Share, count: int, n: int, confidence: float) -> Iterator[str]:
    """Whether a share is that of a count, with its interval."""
    if (share.count, share.n) != (count, n):
        yield f"{what} is {count} of {n}, not {share.count} of {share.n}"
        return
    low, high = interval(count, n, confidence)
    if not (_same(share.low, low) and _same(share.high, high) and share.value == count / n):
        told = f"[{share.low:.6g}, {share.high:.6g}]"
        yield f"{what}: the interval of {count} of {n} is [{low:.6g}, {high:.6g}], not {told}"


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _rows(report: Report) -> Iterator[str]:
    places = Counter((row.eps, row.sample) for row in report.samples)
    for (eps, sample), times in places.items():
        if times > 1:
            yield f"sample {sample} at eps {eps:g} stands there {times} times"
    asked = set(report.threat.perturbation.eps)
    if {row.eps for row in report.samples} - asked:
        yield "there are samples at an eps that the threat model does not name"
    ids = {row.sample for row in report.samples}
    whole = len(asked) * report.data.n
    if len(ids) > report.data.n or (report.complete and len(report.samples) != whole):
        yield f"{len(report.samples)} verdicts are not those of {report.data.n} samples at {len(asked)} eps"
    sizes = sum(each.n for each in report.data.per_class)
    if report.data.sha256 != report.identity.data:
        yield "the data sheet is that of other data than the evidence"
    if report.data.sha256 is not None and not report.data.per_class:
        yield "the data sheet has no classes"
    if report.data.per_class and sizes != report.data.n:
        yield f"the classes of the data sheet have {sizes} samples, not {report.data.n}"


def _curve(report: Report) -> Iterator[str]:
    if report.interval.method != _METHOD:
        yield f"intervals by {report.interval.method!r} are not known here"
    rows = _by_eps(report)
    if [point.eps for point in report.curve] != sorted(rows):
        yield "the curve has other eps than the samples"
    for point in report.curve:
        n, found = len(rows[point.eps]), Counter(row.verdict for row in rows[point.eps])
        right = n - found[Verdict.MISCLASSIFIED]
        open_ = found[Verdict.UNKNOWN] + found[Verdict.ERROR]
        for verdict in Verdict:
            if point.counts[verdict] != found[verdict]:
                at = f"samples are {verdict.value} at eps {point.eps:g}"
                yield f"{found[verdict]} {at}, not {point.counts[verdict]}"
        for name, share, count in (
            ("clean accuracy", point.clean_accuracy, right),
            ("attacked accuracy", point.attacked_accuracy, right - found[Verdict.FALSIFIED]),
            ("verified accuracy", point.verified_accuracy, found[Verdict.VERIFIED]),
            ("the undecided share", point.undecided, open_),
        ):
            what = f"{name} at eps {point.eps:g}"
            yield from share_problems(what, share, count, n, report.interval.confidence)


def _classes(report: Report) -> Iterator[str]:
    found = Counter((row.eps, row.label, row.verdict) for row in report.samples if row.label is not None)
    told = Counter(
        {
            (each.eps, each.label, verdict): each.counts[verdict]
            for each in report.per_class
            for verdict in Verdict
        }
    )
    if report.per_class and +told != found:
        yield "the counts per class are not those of the samples"


def _gap(report: Report) -> Iterator[str]:
    found = Counter((row.eps, row.verdict, row.by) for row in report.samples)
    told: Counter[tuple[float, Verdict, str | None]] = Counter()
    for each in report.gap:
        told[each.eps, each.verdict, each.method] += each.count
    if report.gap and told != found:
        yield "the gap table does not say which method settled which samples"


def _brackets(report: Report) -> Iterator[str]:
    norm = report.threat.perturbation.name
    rows: dict[int, list[SampleVerdict]] = defaultdict(list)
    for row in report.samples:
        rows[row.sample].append(row)
    for each in report.brackets:
        verified = [r.eps for r in rows[each.sample] if r.verdict is Verdict.VERIFIED]
        attacked = [(r.distances or {}).get(norm, r.eps) for r in rows[each.sample] if _is_falsified(r)]
        attacked += [0.0 for r in rows[each.sample] if r.verdict is Verdict.MISCLASSIFIED]
        expected = (max(verified, default=None), min(attacked, default=None))
        if (each.verified, each.attacked) != expected:
            yield f"what is known of sample {each.sample}'s distance is {expected}, not {each}"


def _is_falsified(row: SampleVerdict) -> bool:
    return row.verdict is Verdict.FALSIFIED


def _attacks(report: Report) -> Iterator[str]:
    tried: Counter[tuple[float, str]] = Counter()
    won: Counter[tuple[float, str]] = Counter()
    for row in report.samples:
        for finding in row.findings:
            tried[row.eps, finding.method] += 1
            won[row.eps, finding.method] += _is_falsified(row) and row.by == finding.method
    for each in report.attacks:
        key = (each.eps, each.attack)
        if (each.tried, each.succeeded) != (tried[key], won[key]):
            yield f"{each.attack} at eps {each.eps:g} succeeded on {won[key]} of {tried[key]} samples"


def _health(report: Report) -> Iterator[str]:
    attacks = {method.name for method in report.methods if method.attacks}
    if len({health.eps for health in report.health}) < len(report.health):
        yield "the health of the attacks stands there twice"
    for health in report.health:
        if not (
            len(health.attacks) > 0 and set(health.attacks) <= attacks and health.samples <= report.data.n
        ):
            yield f"health at eps {health.eps:g} is that of other attacks or samples"
        threat = repr(THREATS[report.threat.perturbation.name](health.eps))
        if health.eps not in report.threat.perturbation.eps or health.threat != threat:
            yield f"health at eps {health.eps:g} was examined under {health.threat}"
        failed = [check.name for check in health.checks if check.outcome is Outcome.FAIL]
        if health.reliable != (not failed):
            yield f"health at eps {health.eps:g}: {failed or 'nothing'} failed, reliable is {health.reliable}"
    reliable = all(health.reliable for health in report.health)
    expected = "upper bound" if reliable else UNRELIABLE
    if report.attacked_accuracy_is != expected:
        yield f"attacked accuracy is {expected!r}, not {report.attacked_accuracy_is!r}"


def _by_eps(report: Report) -> dict[float, list[SampleVerdict]]:
    rows: dict[float, list[SampleVerdict]] = defaultdict(list)
    for row in report.samples:
        rows[row.eps].append(row)
    return rows
