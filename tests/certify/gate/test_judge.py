"""Policies and judgements: waivers, profiles, exit codes."""

import datetime

import pytest

from certify.errors import Exit, UsageError
from certify.gate import Outcome, Policy, Profile, judge, read_policy
from certify.reporting.schema import Contradicted
from tests.certify.reports import report

TODAY = datetime.date(2026, 6, 1)
RULE = {"id": "proof", "kind": "verified-accuracy", "norm": "linf", "eps": 0.1, "at_least": 0.8}
GOOD, OPEN, BAD = "v" * 30, "v" * 3, "u" * 30


def policy(*waivers, **changes):
    table = {"name": "p", "rules": [RULE], "waivers": waivers, **changes}
    return Policy.model_validate(table)


def waiver(**changes):
    day = TODAY + datetime.timedelta(days=1)
    return {"rule": "proof", "reason": "known", "owner": "Ada", "expires": day, **changes}


@pytest.mark.parametrize(
    ("letters", "code", "result"),
    [
        (GOOD, Exit.PASS, "PASSED"),
        (OPEN, Exit.INCONCLUSIVE, "FAILED"),
        (BAD, Exit.FAILED, "FAILED"),
        ("e" * 30, Exit.NOTHING_EVALUATED, "FAILED"),
        ("", Exit.NOTHING_EVALUATED, "FAILED"),
    ],
)
def test_exit_codes(letters, code, result):
    found = judge(report({0.1: letters}), policy(), TODAY)
    assert (found.exit, found.result) == (code, result)


def test_a_contradiction_comes_before_all_else():
    each = Contradicted(
        sample=0, cause="alarm", reason="r", sentence="s", file="f", proof={"a": 1}, attack={"a": 1}
    )
    invalid = report({0.1: GOOD}, status="INVALID", contradictions=(each,))
    assert judge(invalid, policy(waiver()), TODAY).exit is Exit.SOUNDNESS_VIOLATION


@pytest.mark.parametrize("letters", [OPEN, BAD])
def test_a_waiver_lets_its_rule_through_and_is_told(letters):
    found = judge(report({0.1: letters}), policy(waiver()), TODAY)
    assert (found.exit, found.result) == (Exit.PASS, "WARNED")
    assert found.rulings[0].outcome is Outcome.WAIVED
    assert "Ada" in found.rulings[0].sentence
    assert [each.owner for each in found.waivers] == ["Ada"]


def test_a_waiver_is_in_force_through_its_last_day():
    last = policy(waiver(expires=TODAY))
    assert judge(report({0.1: BAD}), last, TODAY).exit is Exit.PASS
    late = judge(report({0.1: BAD}), last, TODAY + datetime.timedelta(days=1))
    assert late.exit is Exit.FAILED
    assert "expired on 2026-06-01" in late.rulings[0].sentence


def test_a_waiver_that_is_not_needed_is_not_used():
    found = judge(report({0.1: GOOD}), policy(waiver()), TODAY)
    assert (found.result, found.waivers) == ("PASSED", ())


def test_profiles_require_more_and_more():
    p = policy(waiver())
    cases = {
        "all": report({0.1: GOOD}, p),
        "late policy": report({0.1: GOOD}, p, fixed=False),
        "no policy": report({0.1: GOOD}),
        "no attack": report({0.1: GOOD}, p, attacked=False),
        "incomplete": report({0.1: GOOD}, p, complete=False),
    }
    passing = {
        profile: {name for name, each in cases.items() if judge(each, p, TODAY, profile=profile).exit == 0}
        for profile in Profile
    }
    assert passing[Profile.RELEASE] == {"all"}
    assert passing[Profile.STANDARD] == cases.keys() - {"incomplete"}
    assert passing[Profile.QUICK] == cases.keys()


def test_the_quick_profile_never_attests_a_pass():
    assert judge(report({0.1: GOOD}), policy(), TODAY, profile=Profile.QUICK).result == "WARNED"
    assert judge(report({0.1: BAD}), policy(), TODAY, profile=Profile.QUICK).result == "FAILED"


def test_a_profile_weaker_than_the_policys_attests_no_pass():
    """Who runs the gate may ask for less than the policy does, and that is no pass of the policy."""
    judged, strict = report({0.1: GOOD}), policy(profile="release")
    assert judge(judged, strict, TODAY, profile=Profile.STANDARD).result == "WARNED"
    assert judge(judged, policy(profile="quick"), TODAY, profile=Profile.STANDARD).result == "PASSED"


def test_the_digest_is_of_what_is_fixed_before_a_run():
    base = policy()
    assert policy(waiver(), profile="release").digest() == base.digest()
    assert policy(confidence=0.9).digest() != base.digest()
    assert policy(rules=[{**RULE, "at_least": 0.79}]).digest() != base.digest()


TOML = """
name = "p"
[[rules]]
id = "proof"
kind = "verified-accuracy"
norm = "linf"
eps = 0.1
at_least = 0.8
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOML.replace("verified-accuracy", "verified-acuracy"), "did you mean 'verified-accuracy'"),
        (TOML.replace('kind = "verified-accuracy"', ""), "unknown kind None"),
        (TOML.replace("at_least = 0.8", "at_least = 8"), "rules.0.at_least: Input should be less"),
        (TOML.replace("at_least", "atleast"), "at_least: Field required"),
        (TOML + TOML.replace('name = "p"', ""), "occurs twice"),
        (TOML + '[[waivers]]\nrule="x"\nreason="r"\nowner="o"\nexpires=2026-01-01\n', "which there is not"),
        (TOML + '[[waivers]]\nrule="proof"\nowner="o"\nexpires=2026-01-01\n', "waivers.0.reason: Field"),
        (TOML + '[[waivers]]\nrule="proof"\nreason=" "\nowner="o"\nexpires=2026-01-01\n', "waivers.0.reason"),
        ('name = "p"\n', "rules: Field required"),
        ("name =", "no TOML"),
    ],
)
def test_bad_policies_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_policy(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    path.write_text(TOML)
    assert read_policy(path).rules[0].id == "proof"
