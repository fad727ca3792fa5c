"""Health checks: each finds what it is for, and none cries wolf over plain networks."""

import json
from dataclasses import replace

import pytest
import torch

from certify.attacks import FGSM, PGD
from certify.checkup import CHECKS, health
from certify.decide import evaluate
from certify.defences import JPEG
from certify.deterministic import CROWN
from certify.diagnosis import UNRELIABLE, Health, Outcome
from certify.errors import UsageError
from certify.run import Run
from certify.smoothing import Smoothed
from certify.smoothing.laws import Gaussian
from certify.threat import L0, L1, L2, Linf, Patch
from tests.certify.attacks.test_recorded import network
from tests.certify.checkup import controls as c
from tests.certify.defences import controls as defended
from tests.certify.toys import model_of, right_answers

BY_NAME = {check.name: check for check in CHECKS}
RUN = Run(batch_size=16)
QUICK = PGD(steps=20)


def examined(model, attack=QUICK, names=None, x=c.X, threat=c.THREAT, **options):
    """The outcomes by name; labels are the model's own."""
    checks = [BY_NAME[name] for name in names] if names else CHECKS
    y = right_answers(model, x)
    return health(model, x, y, threat, attacks=[attack], run=RUN, checks=checks, **options)


def outcomes(found):
    return {each.name: each.outcome for each in found.findings}


@pytest.fixture(scope="module")
def plain():
    """A plain network, examined by everything there is."""
    return examined(c.PLAIN, black_box=c.RandomSearch(), surrogate=c.PLAIN)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_plain_network_passes_every_check(plain, name):
    assert outcomes(plain)[name] is Outcome.PASS


FAILING = {
    "randomised model": lambda: (c.randomised(), QUICK, {}),
    "probabilities as outputs": lambda: (c.PROBABILITIES, QUICK, {}),
    "zero gradients": lambda: (c.DISTILLED, QUICK, {}),
    "black box beats white box": lambda: (c.PLAIN, c.Still(), {"black_box": c.RandomSearch()}),
    "optimisation at inference": lambda: (c.changed(c.purified), QUICK, {}),
    "few classes": lambda: (c.THREE, QUICK, {}),
    "unavailable gradients": lambda: (c.QUANTISED, QUICK, {}),
    "unstable predictions": lambda: (c.JITTERY, QUICK, {}),
    "silent success": lambda: (c.PLAIN, c.Forgetful(20), {}),
    "incomplete optimisation": lambda: (c.PLAIN, FGSM(), {}),
    "transfer failure": lambda: (c.TURNED, QUICK, {"surrogate": c.PLAIN}),
    "unconstrained attack fails": lambda: (c.PLAIN, c.Still(), {}),
    "one step beats many": lambda: (c.PLAIN, c.Downhill(), {}),
    "random noise as strong": lambda: (c.PLAIN, c.Downhill(), {"threat": Linf(1.5 * c.EPS)}),
    "success falls as eps grows": lambda: (c.BAND, FGSM(), {"x": c.MIDDLE, "threat": Linf(0.05)}),
    "success falls with effort": lambda: (c.PLAIN, c.Weary(20), {}),
    "more effort breaks more": lambda: (c.PLAIN, PGD(steps=8, step_size=0.1), {"threat": Linf(c.EPS)}),
    "gradient against differences": lambda: (c.TURNED, QUICK, {}),
    "scale of the logits": lambda: (c.LOUD, c.Unscaled(20), {}),
    "targeted beats untargeted": lambda: (c.DECOY, QUICK, {"x": c.MIDDLE, "threat": Linf(0.05)}),
}
WARNS_ONLY = {"probabilities as outputs", "few classes"}


@pytest.mark.parametrize("name", BY_NAME)
def test_each_check_finds_what_it_is_for(name):
    model, attack, options = FAILING[name]()
    found = examined(model, attack, [name], **options)
    expected = Outcome.WARN if name in WARNS_ONLY else Outcome.FAIL
    assert outcomes(found) == {name: expected}, found
    assert found.findings[0].measured > found.findings[0].warn
    assert found.reliable is (name in WARNS_ONLY)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (c.DISTILLED, ["zero gradients", "unavailable gradients", "probabilities as outputs"]),
        (c.QUANTISED, ["zero gradients", "unavailable gradients", "gradient against differences"]),
        (c.WINNERS, ["gradient against differences"]),
        (c.randomised(), ["randomised model"]),
    ],
    ids=["distilled", "quantised", "k winners", "randomised"],
)
def test_defences_that_mask_gradients_are_found_out(model, names):
    found = examined(model, names=names)
    assert not found.reliable
    for each in found.findings:
        assert each.outcome is (Outcome.WARN if each.name in WARNS_ONLY else Outcome.FAIL), found


@pytest.mark.parametrize(
    ("make", "attack", "names"),
    [
        (defended.base, QUICK, []),
        # its rounding has a stand-in gradient
        pytest.param(defended.compressed, QUICK, [], marks=pytest.mark.slow),
        (defended.distilled, QUICK, []),  # the losses are free of scale
        (defended.distilled, c.Unscaled(20), ["scale of the logits"]),
        (lambda: defended.shattered(JPEG(30)), QUICK, ["zero gradients", "unavailable gradients"]),
        (defended.winners, QUICK, ["random noise as strong"]),
    ],
)
def test_defended_models_fail_where_the_attack_is_not_made_for_them(make, attack, names):
    x, y = (each[:8] for each in defended.digits())
    found = health(make(), x, y, Linf(0.1), attacks=[attack], run=RUN)
    assert found.reliable is not bool(names), found
    assert set(names) <= {each.name for each in found.failed}, found


@pytest.mark.parametrize("threat", [L2(0.5), L1(1.0)])
def test_a_plain_network_is_well_in_other_norms(threat):
    found = examined(c.PLAIN, threat=threat)
    assert not found.failed, found
    assert not {"targeted beats untargeted", "few classes"} & {each.name for each in found.failed}


@pytest.mark.parametrize(
    ("name", "threat"),
    [
        ("cifar", Linf(2 / 255)),
        pytest.param("mnist", Linf(0.3), marks=pytest.mark.slow),
        pytest.param("cifar", L2(0.25), marks=pytest.mark.slow),
    ],
)
def test_trained_networks_raise_no_alarm(data_dir, name, threat):
    model, x, y = network(data_dir, name, 8)
    found = health(model, x, y, threat, attacks=[QUICK], run=RUN)
    assert not found.failed, found
    assert not found.warned, found
    assert found.samples > 3


# --- what cannot be checked


def test_threats_that_count_leave_out_what_needs_a_small_step():
    found = outcomes(examined(c.PLAIN, threat=L0(3)))
    left = {name for name, outcome in found.items() if outcome is Outcome.NOT_RUN}
    assert left == {
        "black box beats white box", "transfer failure", "unstable predictions",
        "success falls as eps grows", "gradient against differences",
    }  # fmt: skip
    assert found["unconstrained attack fails"] is Outcome.PASS
    image = model_of(lambda x: c.PLAIN(x.flatten(1)), (2, 4, 4), 5, (0.0, 1.0))
    seen = examined(image, threat=Patch(2), x=c.X.view(-1, 2, 4, 4), names=["unconstrained attack fails"])
    assert not seen.failed


def test_an_attack_that_cannot_be_watched_is_judged_by_its_success():
    found = outcomes(examined(c.PLAIN, c.RandomSearch(20)))
    assert found["incomplete optimisation"] is found["one step beats many"] is Outcome.NOT_RUN
    assert found["more effort breaks more"] is Outcome.NOT_RUN
    assert found["targeted beats untargeted"] is Outcome.FAIL


def test_a_model_without_any_gradient_fails_and_is_not_refused():
    model = c.changed(lambda x: c.PLAIN(x.detach()))
    found = outcomes(examined(model, names=["zero gradients", "gradient against differences"]))
    assert set(found.values()) == {Outcome.FAIL}


def test_where_no_sample_is_right_nothing_is_run():
    y = (right_answers(c.PLAIN, c.X) + 1) % 5
    found = health(c.PLAIN, c.X, y, c.THREAT, attacks=[QUICK])
    assert found.samples == 0
    assert {each.outcome for each in found.findings} == {Outcome.NOT_RUN}
    assert "of 0 that were run" in found.summary


def test_bad_questions_are_refused():
    y = right_answers(c.PLAIN, c.X)
    for attacks, x, message in (
        ([CROWN()], c.X, "is no attack"),
        ([], c.X, "nothing to examine"),
        ([QUICK], c.X + 1, "outside the model's input range"),
    ):
        with pytest.raises(UsageError, match=message):
            health(c.PLAIN, x, y, c.THREAT, attacks=attacks)
    with pytest.raises(UsageError, match="by sampling"):
        health(Smoothed(c.PLAIN, Gaussian(0.1), 10, 10), c.X[:2], y[:2], L2(0.1), attacks=[QUICK])


# --- the value


def test_outcomes_do_not_depend_on_batches_and_leave_random_numbers_alone():
    before = torch.get_rng_state()
    names = ["random noise as strong", "unstable predictions", "more effort breaks more"]
    whole = examined(c.PLAIN, names=names)
    y = right_answers(c.PLAIN, c.X)
    checks = [BY_NAME[name] for name in names]
    parts = health(c.PLAIN, c.X, y, c.THREAT, attacks=[QUICK], run=Run(batch_size=5), checks=checks)
    for one, other in zip(whole.findings, parts.findings, strict=True):
        assert one.measured == pytest.approx(other.measured, abs=1e-6)
    assert torch.equal(before, torch.get_rng_state())


def test_health_prints_as_a_table_and_survives_json(plain):
    lines = str(plain).splitlines()
    assert len(lines) == len(CHECKS) + 2
    assert lines[0].split() == ["check", "outcome", "measured", "threshold", "method"]
    for check, line in zip(CHECKS, lines[1:], strict=False):
        assert line.startswith(check.name)
        assert check.method in line
    assert Health.of(json.loads(json.dumps(plain.record(), allow_nan=False))) == plain
    assert plain.reliable
    assert UNRELIABLE not in str(plain)


def test_a_failed_check_downgrades_the_result():
    y = right_answers(c.QUANTISED, c.X)
    result = evaluate(c.QUANTISED, c.X, y, c.THREAT, [QUICK])
    assert UNRELIABLE not in str(result)
    found = examined(c.QUANTISED, names=["zero gradients"])
    assert str(result.with_health(found)).endswith(f"attacks: {UNRELIABLE}")
    assert UNRELIABLE in found.summary
    well = examined(c.PLAIN, names=["zero gradients"])
    assert str(result.with_health(well)) == str(result)
    with pytest.raises(UsageError, match="another model"):
        result.with_health(replace(found, model="1" * 64))
