"""Reports by hand: verdicts in, a report that agrees with itself out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from bounds.rounding import Level
from certify.reporting.schema import (
    AttackResult,
    Bracket,
    Counts,
    DataSheet,
    Identity,
    Interval,
    ModelCard,
    Perturbation,
    Point,
    Policy,
    Report,
    SampleVerdict,
    Share,
    ThreatModel,
)
from certify.verdict import Verdict

MODEL, DATA = "a1" * 32, "b2" * 32
LETTERS = {
    "v": Verdict.VERIFIED,
    "f": Verdict.FALSIFIED,
    "u": Verdict.UNKNOWN,
    "m": Verdict.MISCLASSIFIED,
    "e": Verdict.ERROR,
}


def share(count, n):
    return Share(count=count, n=n, value=count / n, low=0.0, high=1.0)


def row(eps, sample, letter, level=Level.REAL, alpha=0.0):
    verdict = LETTERS[letter]
    proof = {"margin": 1.0, "level": level, "alpha": alpha, "by": "CROWN()"}
    attack = {"witness_sha256": "0f" * 32, "by": "PGD()", "distances": {"linf": eps / 2}}
    extra = proof if verdict is Verdict.VERIFIED else attack if verdict is Verdict.FALSIFIED else {}
    return SampleVerdict(eps=eps, sample=sample, label=0, predicted=0, verdict=verdict, **extra)


def rows(letters, eps=0.1):
    """One row for each letter or row."""
    return [row(eps, i, each) if isinstance(each, str) else each for i, each in enumerate(letters)]


def point(eps, some):
    counted = Counter(r.verdict for r in some)
    c = Counts(**{verdict.value: counted[verdict] for verdict in Verdict})
    right = c.n - c.misclassified
    return Point(
        eps=eps,
        n=c.n,
        counts=c,
        clean_accuracy=share(right, c.n),
        attacked_accuracy=share(right - c.falsified, c.n),
        verified_accuracy=share(c.verified, c.n),
        undecided=share(c.unknown + c.error, c.n),
    )


def report(letters, policy=None, fixed=True, attacked=True, **changes):
    """letters: per eps the verdicts, one letter a sample; or rows."""
    by_eps = {eps: rows(some, eps) for eps, some in letters.items()}
    samples = tuple(each for some in by_eps.values() for each in some)
    by_sample = defaultdict(list)
    for each in samples:
        by_sample[each.sample].append(each)
    if policy is not None:
        record = policy.record()
        changes["policy"] = Policy(sha256=policy.digest(), fixed_before_run=fixed, rules=record)
    tried = [AttackResult(eps=eps, attack="PGD()", tried=1, succeeded=0) for eps in letters]
    parts = {
        "status": "VALID",
        "complete": True,
        "identity": Identity(model=MODEL, data=DATA),
        "model": ModelCard(name="net", sha256=MODEL),
        "data": DataSheet(name="data", n=max(map(len, letters.values()), default=1) or 1),
        "threat": ThreatModel(
            knowledge="white-box",
            perturbation=Perturbation(
                name="linf", norm=math.inf, unit="input units", eps=tuple(letters), sentence="x"
            ),
        ),
        "methods": (),
        "interval": Interval(method="Clopper-Pearson", confidence=0.95, sentence="x"),
        "curve": tuple(point(eps, some) for eps, some in by_eps.items() if some),
        "brackets": tuple(_bracket(sample, some) for sample, some in by_sample.items()),
        "attacks": tuple(tried) if attacked else (),
        "attacked_accuracy_is": "upper bound",
        "samples": samples,
        "claimed": (),
        "not_claimed": ("anything else",),
    }
    return Report(**{**parts, **changes})


def _bracket(sample, some):
    distances = [r.distances["linf"] for r in some if r.distances]
    distances += [0.0 for r in some if r.verdict is Verdict.MISCLASSIFIED]
    verified = [r.eps for r in some if r.verdict is Verdict.VERIFIED]
    return Bracket(sample=sample, verified=max(verified, default=None), attacked=min(distances, default=None))
