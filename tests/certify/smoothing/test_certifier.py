"""The certifier as users and as the decider protocol meet it."""

import dataclasses
import math

import mpmath
import numpy as np
import pytest
import torch

from certify.errors import UsageError
from certify.evidence import Claim
from certify.query import Query
from certify.run import Run
from certify.smoothing import (
    Ablation,
    Anytime,
    Ellipsoid,
    Gaussian,
    Laplace,
    Smoothed,
    Smoothing,
    TwoSided,
    Uniform,
    UniformLinf,
    certified_accuracy,
)
from certify.smoothing.execution import Execution
from certify.smoothing.intervals import lower_bounds
from certify.smoothing.votes import InMemory
from certify.threat import L0, L1, L2, Linf, Patch
from tests.certify.smoothing.models import halfspace, model_of, thirds

QUICK = Smoothing(sigma=0.5, n0=50, n=1000, alpha=0.01)
X = torch.tensor([[0.8, 0.0], [0.0, 0.3], [-0.4, 0.1], [0.2, 0.2]])
Y = torch.tensor([1, 1, 0, 0])


def query(threat=None, model=None, y=Y) -> Query:
    model = Smoothed(model_of(halfspace), Gaussian(0.5)) if model is None else model
    return Query(model, X, y, threat or L2(0.2), (4, 5, 6, 7))


def test_result_follows_from_its_counts():
    result = QUICK.certify(thirds, X)
    assert result.n.tolist() == [1000] * 4
    assert result.selection.sum(1).tolist() == [50] * 4
    assert torch.equal(result.selected, result.selection.argmax(1))
    for i in range(4):
        hits = int(result.hits[i])
        p = lower_bounds(np.array([hits]), 1000, 0.01)[0]
        assert result.p_lower[i] == p
        with mpmath.workdps(40):
            exact = 0.5 * mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1)
        if p > 0.5:
            assert result.label[i] == result.selected[i]
            assert 0 <= float(exact) - float(result.radius[i]) < 1e-12
        else:
            assert (result.label[i], result.radius[i]) == (-1, 0)
    assert (result.mode, result.n0, result.alpha, result.law, result.seed, result.device) == (
        "Fixed(n=1000)",
        50,
        0.01,
        "Gaussian(sigma=0.5)",
        0,
        "cpu",
    )


def test_abstains_on_the_boundary_and_only_there():
    result = Smoothing(0.5, n=2000).certify(halfspace, torch.tensor([[0.0, 9.0], [0.5, 0.0], [-0.5, 0.0]]))
    assert result.label.tolist() == [-1, 1, 0]
    assert result.abstains.tolist() == [True, False, False]
    assert result.radius[0] == 0
    assert (result.radius[1:] > 0.3).all()


def test_stages_use_different_noise():
    result = dataclasses.replace(QUICK, n0=1000).certify(thirds, X)
    assert not torch.equal(result.hits, result.selection.gather(1, result.selected[:, None])[:, 0])


@pytest.mark.parametrize("batch_size", [1, 33, 4096])
def test_batch_size_changes_nothing(batch_size):
    other = dataclasses.replace(QUICK, batch_size=batch_size)
    assert other == QUICK
    assert repr(other) == repr(QUICK)
    a, b = QUICK.certify(thirds, X), other.certify(thirds, X)
    assert torch.equal(a.hits, b.hits)
    assert torch.equal(a.radius, b.radius)


def test_sample_ids_key_the_noise():
    whole = QUICK.certify(thirds, X, samples=(4, 5, 6, 7))
    alone = QUICK.certify(thirds, X[2:3], samples=(6,))
    assert torch.equal(alone.hits[0], whole.hits[2])
    assert not torch.equal(QUICK.certify(thirds, X[2:3], Run(seed=1), (6,)).hits, alone.hits)


def test_model_smoothed_model_and_callable_agree():
    model = model_of(halfspace)
    counts = [QUICK.certify(m, X).hits for m in (halfspace, model, QUICK.smoothed(model))]
    assert torch.equal(counts[0], counts[1])
    assert torch.equal(counts[0], counts[2])


def test_float64_inputs():
    assert QUICK.certify(halfspace, X.double()).n.tolist() == [1000] * 4


def test_single_draw_and_extreme_alpha():
    result = Smoothing(0.5, n0=1, n=1, alpha=0.4, batch_size=1).certify(halfspace, X)
    assert (result.label == -1).logical_or(result.p_lower > 0.5).all()
    assert (Smoothing(0.5, n0=1, n=1, alpha=0.5).certify(halfspace, X).label == -1).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sigma", 0.0),
        ("sigma", -0.5),
        ("sigma", math.nan),
        ("sigma", math.inf),
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("alpha", math.nan),
        ("n", 0),
        ("n", 1e5),
        ("n0", 0),
        ("n0", -3),
        ("batch_size", 0),
    ],
)
def test_values_outside_their_domain(field, value):
    with pytest.raises(UsageError, match=field):
        dataclasses.replace(QUICK, **{field: value})


@pytest.mark.parametrize(
    ("sigma", "law", "match"),
    [
        (0.5, "gauss", "gaussian"),
        (0.5, "ablation", "with its parameters"),
        (None, "gaussian", "sigma is missing"),
        (0.5, Ablation(1, 2, 0.0), "leave sigma out"),
    ],
)
def test_laws_and_scales_that_do_not_fit(sigma, law, match):
    with pytest.raises(UsageError, match=match):
        Smoothing(sigma, law=law)


@pytest.mark.parametrize(
    "law", [Laplace(0.5), Uniform(0.5), UniformLinf(0.5, 2), Ellipsoid(torch.tensor([0.5, 1.0]))], ids=repr
)
def test_a_halfspace_under_any_additive_law(law):
    """Its smoothed radius is the distance |x_0|, in every norm, for noise that is wide enough."""
    result = Smoothing(law=law, n=4000).certify(halfspace, X[:2])
    assert result.label.tolist() == [1, -1]
    assert 0.4 < result.radius[0] <= 0.8


def test_a_law_with_parameters_is_the_same_as_its_name():
    named, given = Smoothing(0.5, n=500, law="laplace"), Smoothing(n=500, law=Laplace(0.5))
    assert torch.equal(named.certify(thirds, X).radius, given.certify(thirds, X).radius)
    assert named.smoothed(model_of(thirds)).digest == given.smoothed(model_of(thirds)).digest


def test_ablation_certifies_counted_changes():
    """A vote for class 0 where some element that is kept is 1: at least one of 20 is until 16 are changed."""
    x, y = torch.ones(1, 20), torch.tensor([0])

    def any_one(z):
        hit = (z == 1).any(1).double()
        return torch.stack([hit, 1 - hit], dim=1)

    smoothing = Smoothing(law=Ablation(keep=5, pixels=20, null=0.0), n=2000)
    model = smoothing.smoothed(model_of(any_one, shape=(20,), valid=(0.0, 1.0)))
    assert smoothing.certify(model, x).radius.tolist() == [2.5]
    found = [smoothing.decide(Query(model, x, y, L0(eps), (0,)), Run())[0].margin for eps in (0, 2, 3)]
    assert found == [2.5, 0.5, -0.5]
    # Delta = 1 - C(18, 5) / C(20, 5) is below 1/2 for two changes, not for three
    assert [1 - math.comb(20 - rho, 5) / math.comb(20, 5) < 0.5 for rho in (2, 3)] == [True, False]


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (torch.zeros(0, 2), "at least one"),
        (torch.zeros(2), "batch on axis 0"),
        (torch.zeros(2, 2, dtype=torch.int64), "float32"),
        (torch.zeros(2, 2, dtype=torch.float16), "float32"),
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), "sample 1"),
        (torch.tensor([[0.0, torch.inf]]), "sample 0"),
    ],
)
def test_bad_inputs(x, match):
    with pytest.raises(UsageError, match=match):
        QUICK.certify(halfspace, x)


def test_inputs_that_do_not_fit_the_model():
    model = model_of(halfspace, valid=(0.0, 1.0))
    with pytest.raises(UsageError, match="input range"):
        QUICK.certify(model, X)
    with pytest.raises(UsageError, match="shape"):
        QUICK.certify(model, torch.zeros(1, 3))
    with pytest.raises(UsageError, match="3 logits"):
        QUICK.certify(model_of(thirds), X)
    with pytest.raises(UsageError, match="ids"):
        QUICK.certify(halfspace, X, samples=(1, 2))


def test_smoothed_is_another_model():
    model = model_of(halfspace)
    g = Smoothed(model, Gaussian(0.5))
    twins = [
        Smoothed(model, Gaussian(0.25)),
        Smoothed(model_of(halfspace, digest="1" * 64), Gaussian(0.5)),
    ]
    assert len({m.digest for m in (model, g, *twins)}) == 4
    assert Smoothed(model, Gaussian(0.5)).digest == g.digest
    assert g.name == "toy smoothed by Gaussian(sigma=0.5)"
    assert (g.input_shape, g.num_classes, g.input_range, g.graph) == ((2,), 2, None, None)
    with pytest.raises(UsageError, match="no exact forward pass"):
        g(X)
    with pytest.raises(UsageError, match="smoothed already"):
        Smoothed(g, Gaussian(0.5))
    with pytest.raises(UsageError, match="same law and scale"):
        QUICK.certify(twins[0], X)


def test_supports():
    assert QUICK.claims == {Claim.ROBUST}
    assert QUICK.supports(query()) is None
    refused = {
        "not smoothed": query(model=model_of(halfspace)),
        "same law and scale": query(model=Smoothed(model_of(halfspace), Gaussian(0.25))),
        "norm 2, not L0": query(L0(1)),
        "norm 2, not Patch": query(Patch(1)),
    }
    for reason, q in refused.items():
        assert reason in (QUICK.supports(q) or "")
        with pytest.raises(UsageError, match=reason):
            QUICK.decide(q, Run())


def test_evidence():
    evidence = QUICK.decide(query(), Run(seed=3))
    result = QUICK.certify(halfspace, X, Run(seed=3), samples=(4, 5, 6, 7))
    assert [e.sample for e in evidence] == [4, 5, 6, 7]
    for i, e in enumerate(evidence):
        assert e.decider == repr(QUICK)
        assert (e.alpha, e.level, e.witness) == (0.01, None, None)
        assert e.detail["radius"] == float(result.radius[i])
        assert e.detail["label"] == int(result.label[i])
        assert e.detail["count"] == int(result.hits[i])
        assert (e.detail["n"], e.detail["n0"], e.detail["seed"]) == (1000, 50, 3)
        assert e.detail["law"] == "Gaussian(sigma=0.5)"
    assert evidence[0].margin == float(result.radius[0]) - 0.2 > 0
    assert (evidence[1].detail["label"], evidence[1].margin) == (-1, None)  # abstains
    assert evidence[2].margin == float(result.radius[2]) - 0.2
    assert (evidence[3].detail["label"], evidence[3].margin) == (1, None)  # certified, but not as the label


def test_the_radius_itself_is_not_claimed():
    """The theorem holds strictly inside: eps = radius gives no positive margin, the float below does."""
    radius = float(QUICK.certify(halfspace, X, samples=(4, 5, 6, 7)).radius[0])
    margins = [
        QUICK.decide(query(L2(eps)), Run())[0].margin
        for eps in (math.nextafter(radius, 0), radius, math.nextafter(radius, 9))
    ]
    assert [m > 0 for m in margins if m is not None] == [True, False, False]


def test_a_threat_of_another_norm_is_covered():
    radius = float(QUICK.certify(halfspace, X, samples=(4, 5, 6, 7)).radius[0])
    assert QUICK.decide(query(L1(0.2)), Run())[0].margin == radius - 0.2
    wider = QUICK.decide(query(Linf(0.2)), Run())[0].margin
    assert wider == pytest.approx(radius - 0.2 * math.sqrt(2))


def test_no_samples_no_evidence():
    q = query()[torch.zeros(4, dtype=torch.bool)]
    assert QUICK.decide(q, Run()) == []


def test_certified_accuracy():
    result = QUICK.certify(halfspace, X)
    radii = [0.0, float(result.radius[2]), 10.0]
    curve = certified_accuracy(result, Y, radii)
    assert curve.accuracy == (0.5, 0.25, 0.0)  # sample 1 abstains, sample 3 is certified wrong
    assert (curve.radii, curve.samples, curve.alpha, curve.joint) == (tuple(radii), 4, 0.01, False)


@pytest.mark.parametrize(("labels", "radii"), [(Y[:2], [0.0]), (Y, [-1.0]), (Y, [math.nan])])
def test_certified_accuracy_refuses(labels, radii):
    with pytest.raises(UsageError):
        certified_accuracy(QUICK.certify(halfspace, X), labels, radii)


def test_only_anytime_may_be_continued():
    memory = InMemory()
    Smoothing(0.5, n0=20, n=200).certify(thirds, X, votes=memory)
    Smoothing(0.5, n0=20, n=200).certify(thirds, X, votes=memory)
    for other in ({"n": 400}, {"mode": Anytime(400)}):
        with pytest.raises(UsageError, match=r"drawn for Fixed\(n=200\)"):
            Smoothing(0.5, n0=20, **other).certify(thirds, X, votes=memory)
    again = InMemory()
    Smoothing(0.5, n0=20, mode=Anytime(200)).certify(thirds, X, votes=again)
    longer = Smoothing(0.5, n0=20, mode=Anytime(400)).certify(thirds, X, votes=again)
    assert torch.equal(longer.hits, Smoothing(0.5, n0=20, mode=Anytime(400)).certify(thirds, X).hits)


def test_smoothed_models_move():
    moved = Smoothed(model_of(halfspace), Gaussian(0.5)).to("cpu")
    assert isinstance(moved, Smoothed)
    assert moved.law == Gaussian(0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"law": "laplace"},
        {"sigma": 2.0},
        {"n0": 30},
        {"execution": Execution("bfloat16")},
    ],
    ids=str,
)
def test_votes_of_another_function_are_refused(change):
    memory, settings = InMemory(), {"sigma": 0.5, "n0": 20, "mode": Anytime(200)}
    Smoothing(**settings).certify(thirds, X, votes=memory)
    with pytest.raises(UsageError, match="drawn for anytime"):
        Smoothing(**{**settings, **change}).certify(thirds, X, votes=memory)


def test_votes_of_another_seed_dtype_or_model_are_refused():
    certifier = Smoothing(0.5, n0=20, mode=Anytime(200))
    memory = InMemory()
    certifier.certify(model_of(halfspace), X, votes=memory)
    with pytest.raises(UsageError, match="drawn for anytime"):
        certifier.certify(model_of(halfspace), X, Run(seed=1), votes=memory)
    with pytest.raises(UsageError, match="drawn for anytime"):
        certifier.certify(model_of(halfspace), X.double(), votes=memory)
    with pytest.raises(UsageError, match="drawn for anytime"):
        certifier.certify(model_of(halfspace, digest="1" * 64), X, votes=memory)


def test_votes_of_another_input_are_refused():
    """Without ids the second batch would get the votes of the first."""
    memory = InMemory()
    QUICK.certify(halfspace, X[:2], votes=memory)
    with pytest.raises(UsageError, match=r"sample 0 .* another input"):
        QUICK.certify(halfspace, X[2:], votes=memory)
    more = QUICK.certify(halfspace, X, votes=memory)
    assert torch.equal(more.hits, QUICK.certify(halfspace, X).hits)


def test_ids_that_repeat_are_refused():
    """Two samples of one id would get the same noise, and perhaps each other's votes."""
    with pytest.raises(UsageError, match="sample id 5 occurs twice"):
        QUICK.certify(halfspace, X, samples=(4, 5, 5, 6))


def test_one_class_is_certified():
    """A single class cannot be lost, and has no rival to count."""
    result = Smoothing(0.5, n0=1, mode=TwoSided(100)).certify(lambda z: z[:, :1], X)
    assert (result.radius > 0).all()


@pytest.mark.parametrize("law", [Gaussian(1e-9), Laplace(1e-9), Uniform(1e-9), UniformLinf(1e-9, 2)])
def test_noise_that_rounding_swallows_is_refused(law):
    """x + noise is x, or a neighbour: a vote of floats, not of the law."""
    x = torch.tensor([[0.5, 0.5]])
    with pytest.raises(UsageError, match="lost in the rounding"):
        Smoothing(law=law, n0=20, n=200).certify(halfspace, x)
    assert Smoothing(law=law, n0=20, n=200).certify(halfspace, x.double()).n.tolist() == [200]
