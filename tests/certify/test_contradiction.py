"""What is to blame for a contradiction, and its file, on models whose arithmetic is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import bounds
from bounds.ops.linear import Linear
from bounds.rounding import Level
from certify.attacks import PGD
from certify.contradiction import Cause, Reproducer
from certify.crosscheck import Recorded, crosscheck, replay
from certify.decide import evaluate
from certify.deterministic import CROWN
from certify.errors import ArtefactRejected, Contradiction, RunMismatch, UsageError
from certify.run import Run
from certify.threat import L2, Linf
from tests.certify.test_decide import MODEL, THREAT, Fixed, X, Y, halves, liar
from tests.certify.toys import mlp, model_of


def linear(weight, bias, forward=None):
    """An affine model with its graph; run in the dtype of its input unless ``forward`` is given."""
    weight, bias = torch.tensor(weight), torch.tensor(bias)
    builder = bounds.Builder((weight.shape[1],))
    graph = builder.build(builder.apply(Linear(), [builder.input], (weight, bias)))
    return model_of(forward or graph, (weight.shape[1],), len(bias), None, graph)


def contradiction(model, x, witness, certificate, eps=0.25, label=0):
    """The one that arises when a certificate meets a point."""
    with pytest.raises(Contradiction) as caught:
        evaluate(
            model,
            torch.tensor([x]),
            torch.tensor([label]),
            Linf(eps),
            [certificate, Recorded("Made()", torch.tensor(witness))],
        )
    (found,) = caught.value.result.contradictions
    assert str(found) == str(caught.value)
    return found


# 1 - 2^-25 is 1 in float32: class 0 is ahead by that little in exact arithmetic, and float32 sees a tie
HALF_ULP = 2.0**-25
CLOSE = [[1.0, 0.0, 0.0], [1.0, -HALF_ULP, 0.0]]


def test_what_only_float32_breaks_is_rounding():
    model = linear(CLOSE, [0.0, 0.0])
    x = [1.0, 4.0, 0.0]
    assert model(torch.tensor([x])).diff().item() < 0  # at x class 0 is ahead in float32, too
    found = contradiction(model, x, [1.0, 1.0, 0.0], Fixed(1e-9), eps=3.0)
    assert found.cause is Cause.ROUNDING
    assert "exact arithmetic" in found.reason
    assert "at level deployed" in found.reason


def test_rounding_excuses_no_certificate_that_speaks_of_the_execution():
    found = contradiction(
        linear(CLOSE, [0.0, 0.0]), [1.0, 4.0, 0.0], [1.0, 1.0, 0.0], Fixed(1e-9, Level.DEPLOYED), eps=3.0
    )
    assert found.cause is Cause.ALARM
    assert "level deployed covers" in found.reason


@pytest.mark.parametrize(
    ("over", "level", "cause"),
    [
        (1e-7, Level.FLOAT, Cause.ROUNDING),
        (1e-7, Level.REAL, Cause.ALARM),
        (0.0, Level.REAL, Cause.ALARM),  # a tie is not robust
        (1e-3, Level.FLOAT, Cause.ALARM),
    ],
)
def test_a_certificate_may_be_off_by_rounding_only_if_it_says_so(over, level, cause):
    model = linear([[0.0], [1.0]], [1.0, 0.0])
    found = contradiction(model, [0.5], [1.0 + over], Fixed(0.1, level), eps=1.0)
    assert found.cause is cause


def test_a_certifier_that_is_wrong_is_an_alarm():
    found = contradiction(linear([[0.0], [1.0]], [1.0, 0.0]), [0.5], [1.2], Fixed(0.1), eps=1.0)
    assert found.cause is Cause.ALARM
    assert "-0.2 in float64" in found.reason


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: torch.cat([torch.ones_like(x), x / 0.5], 1),  # another normalisation
        lambda x: torch.cat([torch.ones_like(x), x + (x > 1.1)], 1),  # another function beyond the input
    ],
)
def test_a_graph_that_is_not_the_network_is_a_matter_of_configuration(forward):
    model = linear([[0.0], [1.0]], [1.0, 0.0], forward)
    found = contradiction(model, [0.4], [1.2], Fixed(0.1), eps=1.0)
    assert found.cause is Cause.CONFIG
    assert "weights or normalisation" in found.reason


def test_without_a_graph_nothing_is_excused():
    with pytest.raises(Contradiction, match=r"ALARM.* no graph"):
        evaluate(MODEL, X, Y, THREAT, [liar(), PGD(10)])


def test_no_other_sample_and_no_other_batch_is_lost(tmp_path):
    with pytest.raises(Contradiction) as caught:
        evaluate(
            MODEL, X, Y, THREAT, [liar(only=(0, 1)), PGD(10)], run=Run(batch_size=1), reproducers=tmp_path
        )
    result = caught.value.result
    assert "".join(each.verdict.value[0] for each in result.samples) == "vefu"
    assert result.robust_accuracy == (0.25, 0.75)
    contradicted = result.samples[1]
    assert contradicted.by is contradicted.witness is contradicted.margin is None
    assert len(contradicted.evidence) == 2
    (path,) = tmp_path.iterdir()
    loaded = Reproducer.load(path)
    assert loaded.record() == result.contradictions[0].record()
    assert torch.equal(loaded.x, X[1])
    assert torch.equal(loaded.witness, result.contradictions[0].witness)
    assert (loaded.proof.threat, loaded.proof.level, loaded.seed) == (THREAT, Level.REAL, 0)


def test_a_file_with_pickled_objects_is_refused(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, x=np.array([{}], dtype=object), witness=np.zeros(1), about=np.array("{}"))
    with pytest.raises(ArtefactRejected, match=r"bad\.npz is no reproducer"):
        Reproducer.load(path)


# --- replay


def test_a_replay_asks_the_certifier_and_the_network_again():
    model = replace(linear([[0.0], [1.0]], [1.0, 0.0]), input_range=(0.0, 2.0))
    recorded = contradiction(model, [0.5], [1.2], Fixed(0.1), eps=1.0)
    (again,) = [replay(recorded, model, [CROWN(), Fixed(0.1)], Run())]
    assert again is not None
    assert again.record() == recorded.record()
    assert replay(recorded, model, [CROWN(), PGD()], Run()) is None  # a certifier that is right
    with pytest.raises(UsageError, match="no decider can prove"):
        replay(recorded, model, [PGD()], Run())
    with pytest.raises(RunMismatch, match="about model"):
        replay(recorded, replace(model, digest="1" * 64), [CROWN()], Run())


# --- one evaluation against another


def test_certificates_of_one_run_meet_counterexamples_of_another():
    certified = evaluate(MODEL, X, Y, Linf(0.3), [liar(only=(0, 1, 3))])
    attacked = evaluate(MODEL, X, Y, THREAT, [PGD(10)])
    (found,) = crosscheck(MODEL, X, certified, attacked)
    assert (found.sample, found.cause) == (1, Cause.ALARM)
    assert (found.proof.threat, found.attack.threat) == (Linf(0.3), THREAT)
    smaller = evaluate(MODEL, X, Y, Linf(0.05), [liar()])
    assert crosscheck(MODEL, X, smaller, attacked) == []
    with pytest.raises(UsageError, match="2 inputs for 4"):
        crosscheck(MODEL, X[:2], certified, attacked)


@pytest.mark.parametrize(
    ("change", "threat", "word"),
    [({"digest": "1" * 64}, Linf(0.25), "another model"), ({}, L2(0.25), "another kind of threat")],
)
def test_what_differs_between_two_runs_is_named(change, threat, word):
    certified = evaluate(MODEL, X, Y, Linf(0.3), [liar(only=(1,))])
    attacked = evaluate(replace(MODEL, **change), X, Y, threat, [PGD(10)])
    (found,) = crosscheck(MODEL, X, certified, attacked)
    assert found.cause is Cause.CONFIG
    assert word in found.reason


def test_another_label_is_a_matter_of_configuration():
    x = torch.tensor([[0.4]])
    model = model_of(lambda z: torch.cat([halves(z), -torch.ones_like(z)], 1), (1,), 3)
    certified = evaluate(model, x, torch.tensor([0]), Linf(0.3), [liar()])
    flipped = model_of(lambda z: -model(z), (1,), 3)
    attacked = evaluate(flipped, x, torch.tensor([2]), Linf(0.3), [Recorded("Made()", torch.tensor([0.7]))])
    attacked = replace(attacked, samples=(replace(attacked.samples[0], witness=torch.tensor([0.7])),))
    (found,) = crosscheck(model, x, certified, attacked)
    assert found.cause is Cause.CONFIG
    assert "another label" in found.reason


def test_networks_that_are_right_contradict_nobody():
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(1)
    certified = evaluate(model, x, y, Linf(0.05), [CROWN()])
    attacked = evaluate(model, x, y, Linf(0.1), [PGD(20)])
    assert certified.verified_accuracy > 0 < 1 - attacked.robust_accuracy[1]
    assert crosscheck(model, x, certified, attacked) == []
    assert math.isclose(1.0, attacked.clean_accuracy)
