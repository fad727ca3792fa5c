"""Rules: their bounds against exact binomial tails, and their three outcomes."""

import itertools
import math
from fractions import Fraction

import pytest
from pydantic import ValidationError

from bounds.rounding import Level
from certify.errors import UsageError
from certify.gate.policy import Policy
from certify.gate.ruling import Case, Outcome, lower, upper
from certify.reporting.schema import RadiusStep, SampleRadius, SmoothedModel
from tests.certify.reports import report, row, share


def ruled(rule, judged, baseline=None, confidence=0.95):
    policy = Policy.model_validate({"name": "p", "rules": [{"id": "r", **rule}]})
    return policy.rules[0].judge(Case(judged, baseline, confidence))


def tail(successes, n, p):
    """P[Binomial(n, p) >= successes], exactly."""
    p = Fraction(p)
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(successes, n + 1))


@pytest.mark.parametrize(("count", "n"), [(0, 5), (1, 5), (3, 7), (7, 7), (19, 20)])
def test_bounds_are_those_of_exact_tails(count, n):
    low, high = lower(count, n, 0.05), upper(count, n, 0.05)
    if count:
        assert tail(count, n, low) <= Fraction(5, 100) < tail(count, n, low + 1e-9)
    else:
        assert low == 0
    if count < n:
        assert 1 - tail(count + 1, n, high) <= Fraction(5, 100) < 1 - tail(count + 1, n, high - 1e-9)
    else:
        assert high == 1


VERIFIED = {"kind": "verified-accuracy", "norm": "linf", "eps": 0.1}


@pytest.mark.parametrize(
    ("letters", "threshold", "outcome"),
    [
        ("v" * 20, 0.86, Outcome.PASSED),  # 0.05 ** (1 / 20) = 0.8609
        ("v" * 20, 0.87, Outcome.INCONCLUSIVE),
        ("v" * 10 + "u" * 10, 0.87, Outcome.FAILED),
        ("v" * 19 + "e", 0.86, Outcome.INCONCLUSIVE),
        ("v" * 3, 0.5, Outcome.INCONCLUSIVE),
    ],
)
def test_verified_accuracy_needs_its_lower_bound(letters, threshold, outcome):
    assert ruled({**VERIFIED, "at_least": threshold}, report({0.1: letters})).outcome is outcome


def test_the_next_larger_budget_stands_in_and_a_smaller_one_never():
    judged = report({0.05: "v" * 20, 0.2: "v" * 10 + "f" * 10})
    found = ruled({**VERIFIED, "at_least": 0.25}, judged)
    assert found.outcome is Outcome.PASSED
    assert "10 of 20" in found.sentence
    assert ruled({**VERIFIED, "eps": 0.3, "at_least": 0.01}, judged).outcome is Outcome.INCONCLUSIVE
    assert ruled({**VERIFIED, "norm": "l2", "at_least": 0.01}, judged).outcome is Outcome.INCONCLUSIVE


def test_only_levels_as_strong_as_asked_for_count():
    rows = [row(0.1, i, "v", level) for i, level in enumerate([*Level] * 10)]
    judged = report({0.1: rows})
    counts = {level: ruled({**VERIFIED, "at_least": 0.01, "level": level}, judged).count for level in Level}
    assert counts == {Level.FLOAT: 30, Level.REAL: 20, Level.DEPLOYED: 10}


def test_the_chance_that_certificates_fail_lowers_the_bound():
    sure = report({0.1: [row(0.1, i, "v") for i in range(20)]})
    drawn = report({0.1: [row(0.1, i, "v", None, 0.01) for i in range(20)]})
    rule = {**VERIFIED, "at_least": 0.01}
    expected = (ruled(rule, sure).bound - 0.01) / 0.99
    assert ruled(rule, drawn).bound == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("kind", "count"), [("gap", 5), ("unknown-rate", 3)])
def test_gap_and_unknown_rate_need_their_upper_bound(kind, count):
    judged = report({0.1: "v" * 95 + "uuuee"})
    high = upper(count, 100, 0.05)
    rule = {"kind": kind, "norm": "linf", "eps": 0.1}
    assert ruled({**rule, "at_most": high}, judged).outcome is Outcome.PASSED
    assert ruled({**rule, "at_most": high - 1e-6}, judged).outcome is Outcome.INCONCLUSIVE
    assert ruled({**rule, "at_most": 0.001}, judged).outcome is Outcome.FAILED
    assert ruled({**rule, "eps": 0.2, "at_most": 0.99}, judged).outcome is Outcome.INCONCLUSIVE


def test_clean_accuracy_counts_all_that_is_right():
    judged = report({0.1: "vfue" * 5 + "m"})
    found = ruled({"kind": "clean-accuracy", "at_least": lower(20, 21, 0.05)}, judged)
    assert (found.outcome, found.count, found.n) == (Outcome.PASSED, 20, 21)


DROP = {"kind": "accuracy-drop", "norm": "linf", "eps": 0.1}


@pytest.mark.parametrize("lost", [0, 2, 30])
def test_the_bound_of_a_drop_holds_as_often_as_it_says(lost):
    """Against enumeration: over all pairs of counts, the chance that the true drop is above the bound."""
    n, failure, losing, winning = 6, 0.05, Fraction(1, 2), Fraction(1, 5)
    wrong = Fraction(0)
    for b, c in itertools.product(range(n + 1), repeat=2):
        if b + c > n:
            continue
        rest = n - b - c
        ways = math.factorial(n) // math.factorial(b) // math.factorial(c) // math.factorial(rest)
        chance = ways * losing**b * winning**c * (1 - losing - winning) ** rest
        bound = upper(b, n, failure / 2) - lower(c, n, failure / 2)
        wrong += chance if losing - winning > bound else 0
    assert wrong <= failure
    baseline = report({0.1: "v" * 100})
    now = report({0.1: "u" * lost + "v" * (100 - lost)})
    found = ruled({**DROP, "at_most": 0.08}, now, baseline)
    assert found.outcome is {0: Outcome.PASSED, 2: Outcome.PASSED, 30: Outcome.FAILED}[lost]
    assert f"({lost} lost, 0 won)" in found.sentence


def test_a_drop_is_of_the_accuracy_that_is_named():
    baseline, now = report({0.1: "vvvv"}), report({0.1: "uufm"})
    drops = {
        name: ruled({**DROP, "accuracy": name, "at_most": 0.99}, now, baseline).count
        for name in ("clean", "attacked", "verified")
    }
    assert drops == {"clean": 1, "attacked": 2, "verified": 4}


def test_regressions_are_named_by_sample():
    rule = {"kind": "no-regression", "norm": "linf", "eps": 0.1}
    baseline = report({0.1: "vufmv"})
    better = ruled(rule, report({0.1: "vvuuv"}), baseline)
    worse = ruled(rule, report({0.1: "vffmu"}), baseline)
    assert better.outcome is Outcome.PASSED
    assert worse.outcome is Outcome.FAILED
    assert "(1, 4)" in worse.sentence
    assert ruled({**rule, "allowed": 2}, report({0.1: "vffmu"}), baseline).outcome is Outcome.PASSED
    assert ruled(rule, report({0.1: "vuf"}), baseline).outcome is Outcome.INCONCLUSIVE


def test_comparing_needs_a_baseline_of_the_same_data():
    judged = report({0.1: "v"})
    with pytest.raises(UsageError, match="--baseline"):
        ruled({**DROP, "at_most": 0}, judged)
    other = report({0.1: "v"}, identity=judged.identity.model_copy(update={"data": "c3" * 32}))
    with pytest.raises(UsageError, match="other samples"):
        ruled({**DROP, "at_most": 0}, judged, other)


def test_attack_distance_counts_samples_without_a_nearer_counterexample():
    rule = {"kind": "attack-distance", "norm": "linf", "distance": 0.05, "at_least": 0.5}
    judged = report({0.04: "v" * 40, 0.08: "f" * 10 + "v" * 20 + "u" * 10})  # counterexamples at 0.04
    found = ruled(rule, judged)
    assert (found.outcome, found.count, found.n) == (Outcome.PASSED, 30, 40)
    assert ruled({**rule, "at_least": 0.95}, judged).outcome is Outcome.FAILED
    assert ruled({**rule, "distance": 0.09}, judged).outcome is Outcome.INCONCLUSIVE
    assert ruled(rule, report({0.08: "v"}, attacked=False)).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("by", "outcome"), [("PGD(steps=5)", Outcome.FAILED), ("FMN()", Outcome.PASSED)])
def test_attack_distance_believes_only_attacks_that_look_for_the_nearest(by, outcome):
    """PGD in a large ball finds something far away, which says nothing about what is near."""
    rows = [row(0.4, k, "f").model_copy(update={"by": by}) for k in range(40)]  # counterexamples at 0.2
    rule = {"kind": "attack-distance", "norm": "linf", "distance": 0.1, "at_least": 0.5}
    assert ruled(rule, report({0.4: rows})).outcome is outcome


def test_attack_distance_needs_every_sample_at_such_a_budget():
    """Samples of an unfinished run, or that were evaluated at smaller budgets alone, do not count."""
    rule = {"kind": "attack-distance", "norm": "linf", "distance": 0.1, "at_least": 0.5}
    found = ruled(rule, report({0.01: "u" * 40, 0.2: "u"}))
    assert (found.count, found.n, found.outcome) == (1, 40, Outcome.FAILED)


@pytest.mark.parametrize(
    "change", [{"at_least": 0}, {"at_least": math.nan}, {"at_least": 1.01}, {"eps": math.nan}, {"eps": -1}]
)
def test_rules_that_hold_of_anything_are_refused(change):
    rule = {"id": "r", "kind": "verified-accuracy", "norm": "linf", "eps": 0.1, "at_least": 0.5, **change}
    with pytest.raises(ValidationError):
        Policy.model_validate({"name": "p", "rules": [rule]})
    gap = {"id": "r", "kind": "gap", "norm": "linf", "eps": 0.1, "at_most": 1}
    with pytest.raises(ValidationError):
        Policy.model_validate({"name": "p", "rules": [gap]})


def smoothed(radii, sigma=0.25):
    n = len(radii)
    return SmoothedModel(
        sigma=sigma, law="l", norm="L2", reference="r", domain="d", mode="m", execution="e",
        alpha=0.001, n=n, abstained=0, wrong=0, joint_failure=0.05,
        steps=(RadiusStep(radius=0.0, certified_accuracy=share(n, n), jointly=1.0),),
        guarantees=(),
        samples=tuple(
            SampleRadius(sample=i, truth=1, label=1, radius=r, alpha=0.001) for i, r in enumerate(radii)
        ),
    )  # fmt: skip


def test_certified_accuracy_is_bounded_on_the_population():
    rule = {"kind": "certified-accuracy", "norm": "l2", "radius": 0.3, "at_least": 0.6}
    judged = report({0.1: "v"}, smoothing=(smoothed([0.5] * 45 + [0.3] * 15),))
    found = ruled(rule, judged)
    expected = (lower(45, 60, 0.05) - 0.001) / 0.999
    assert (found.outcome, found.count) == (Outcome.PASSED, 45)
    assert found.bound == pytest.approx(expected, abs=1e-9)
    assert ruled({**rule, "norm": "linf"}, judged).outcome is Outcome.INCONCLUSIVE
    both = report({0.1: "v"}, smoothing=(smoothed([0.5] * 60), smoothed([0.1] * 60, 0.5)))
    assert ruled(rule, both).outcome is Outcome.INCONCLUSIVE
    assert ruled({**rule, "sigma": 0.5}, both).outcome is Outcome.FAILED
