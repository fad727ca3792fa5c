"""Defended models: their identity, what the engine and the judge make of them, and their random answers."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

import bounds
from certify.attacks import PGD, EoT, FiniteDifferences
from certify.decide import evaluate
from certify.defences import (
    ABSTAINS,
    JPEG,
    BitDepth,
    Defence,
    LowConfidence,
    MajorityVote,
    Mean,
    MeanLogits,
    MeanProbabilities,
    Median,
    RandomNoise,
    RandomPadding,
    Squeezing,
    Temperature,
    Transform,
    straight_through,
)
from certify.defences.bpda import softmax_for_attacks
from certify.deterministic import CROWN
from certify.errors import UsageError
from certify.model import Model
from certify.noise import Draws, stream_key
from certify.query import Query
from certify.run import Run
from certify.sampled import Sampled
from certify.smoothing import Gaussian, Smoothed
from certify.threat import Linf
from certify.verdict import Verdict
from tests.certify.conformance import DeciderConformance
from tests.certify.defences import controls
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

UNIT = (0.0, 1.0)
DEFENCES: list[Defence] = [JPEG(50), JPEG(75), BitDepth(3), Median(3), Mean(3), Temperature(2.0)]


def image_model() -> Model:
    weight = normal(3, 64, seed=1)
    return model_of(lambda z: z.flatten(1) @ weight.to(z).T, (1, 8, 8), 3, UNIT)


def made() -> list[Model]:
    """One defended model of every kind."""
    base = image_model()
    other = Temperature(2.0).around(base)
    return [
        base,
        *(each.around(base) for each in DEFENCES),
        *(rule.of(base, other) for rule in (MeanLogits(), MeanProbabilities(), MajorityVote())),
        LowConfidence(0.6).around(base),
        LowConfidence(0.7).around(base),
        Squeezing((BitDepth(2),), 1.0).around(base),
        RandomNoise(0.1).around(base),
        RandomNoise(0.2).around(base),
        RandomPadding(8, 6, 8).around(base),
    ]


def test_each_defended_model_has_an_identity_of_its_own() -> None:
    models = made()
    for what in ("digest", "name"):
        assert len({getattr(each, what) for each in models}) == len(models)
        assert [getattr(each, what) for each in models] == [getattr(each, what) for each in made()]
    for each in models[1:]:
        moved = each.to("cpu")
        assert type(moved) is type(each)
        assert moved.digest == each.digest
        with pytest.raises(FrozenInstanceError):
            each.name = "other"
    assert MeanLogits().of(models[0], models[1]).digest != MeanLogits().of(models[1], models[0]).digest
    assert RandomNoise(0.1).around(models[0], n0=7).digest == RandomNoise(0.1).around(models[0]).digest


@pytest.mark.parametrize("defence", DEFENCES, ids=repr)
def test_a_defence_asks_the_base_about_the_changed_input(defence: Defence) -> None:
    base, x = image_model(), uniform(4, 1, 8, 8, seed=3)
    expected = base(defence(x, UNIT)) if isinstance(defence, Transform) else base(x) / 2
    assert torch.equal(defence.around(base)(x), expected)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    x = normal(5, seed=1).requires_grad_()
    found = straight_through(x.round(), x.sin())
    assert torch.equal(found, x.round())
    (gradient,) = torch.autograd.grad((found * normal(5, seed=2)).sum(), x)
    torch.testing.assert_close(gradient, x.cos().detach() * normal(5, seed=2))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_the_softmax_for_attacks_has_a_direction_that_no_scale_changes(scale: float) -> None:
    logits = normal(6, 4, seed=1)

    def direction(factor: float) -> tuple[Tensor, Tensor]:
        z = (factor * logits).requires_grad_()
        found = softmax_for_attacks(z)
        (gradient,) = torch.autograd.grad((found * normal(6, 4, seed=2)).sum(), z)
        return found, torch.nn.functional.normalize(gradient)

    found, ours = direction(scale)
    assert torch.equal(found, (scale * logits).softmax(1))
    torch.testing.assert_close(ours, direction(1.0)[1])
    assert softmax_for_attacks(torch.zeros(2, 3)).isfinite().all()


def test_the_engine_bounds_temperatures_and_mean_logits() -> None:
    one, two = mlp((2, 8, 3), seed=1, valid=UNIT), mlp((2, 8, 3), seed=30, valid=UNIT)
    x = uniform(20, 2, seed=4).float()
    for model in (Temperature(0.1).around(one), MeanLogits().of(one, two), MeanLogits().of(one, two, one)):
        assert model.graph is not None
        torch.testing.assert_close(model.graph(x), model(x), rtol=1e-6, atol=1e-6)
        y = right_answers(model, x)
        result = evaluate(model, x, y, Linf(0.05), [CROWN(), PGD(20)])
        assert result.verified_accuracy > 0.3
    assert BitDepth(3).around(one).graph is None
    assert MeanProbabilities().of(one, two).graph is None


def test_ensembles_answer_by_their_rule() -> None:
    logits = torch.tensor([[[3.0, 0.0, 1.0]], [[0.0, 1.0, 0.5]], [[0.0, 2.0, 0.0]]])
    members = [model_of(lambda z, each=each: each.expand(len(z), -1), (2,), 3) for each in logits]
    x = torch.zeros(2, 2)
    torch.testing.assert_close(MeanLogits().of(*members)(x)[0], torch.tensor([1.0, 1.0, 0.5]))
    mean = logits[:, 0].softmax(1).mean(0)
    torch.testing.assert_close(MeanProbabilities().of(*members)(x)[1].exp(), mean)
    assert MajorityVote().of(*members)(x).tolist() == [[1.0, 2.0, 0.0]] * 2
    assert MajorityVote().combine(logits.where(logits != 2.0, torch.nan)).isnan().all()
    tie = MajorityVote().of(*members[:2])
    assert not tie.predictions(x, torch.tensor([0, 1]), (0, 1), Run())[1].any()


def test_a_vote_is_differentiated_as_a_mean_probability() -> None:
    logits = normal(3, 5, 4, seed=1).requires_grad_()
    (ours,) = torch.autograd.grad((MajorityVote().combine(logits) * normal(5, 4, seed=2)).sum(), logits)
    stand_in = sum(softmax_for_attacks(each) for each in logits)
    (theirs,) = torch.autograd.grad((stand_in * normal(5, 4, seed=2)).sum(), logits)
    assert ours.abs().max() > 0
    torch.testing.assert_close(ours, theirs)


def ramp(z: Tensor) -> Tensor:
    """Three classes with logits x0, x1 and 0."""
    return torch.cat([z, torch.zeros_like(z[:, :1])], dim=1)


def test_rejection_is_below_the_threshold_and_kept_decisions_are_label_or_abstention() -> None:
    model = LowConfidence(0.6).around(model_of(ramp, classes=3))
    x = normal(2000, 2, seed=2) * 2
    y = torch.arange(2000) % 3
    p = ramp(x).softmax(1)
    predicted, right = model.predictions(x, y, range(2000), Run())
    expected = torch.where(p.amax(1) < 0.6, ABSTAINS, p.argmax(1))
    assert torch.equal(predicted, expected)
    assert torch.equal(right, expected == y)
    kept = torch.tensor(model.p_values(x, y, range(2000), Run(), "replay"))
    assert torch.equal(kept == 1, (expected == y) | (expected == ABSTAINS))
    assert {ABSTAINS, 0, 1, 2} == set(predicted.tolist())
    with pytest.raises(UsageError, match="label 3 is the abstention"):
        model.spec(torch.tensor([0, 3]))


def test_an_abstention_is_neither_right_nor_a_success() -> None:
    model = LowConfidence(0.6).around(model_of(ramp, classes=3))
    x, y = torch.tensor([[0.1, 0.0], [3.0, 0.0]]), torch.tensor([0, 0])
    result = evaluate(model, x, y, Linf(1.6), [PGD(20)])
    assert [each.verdict for each in result.samples] == [Verdict.MISCLASSIFIED, Verdict.UNKNOWN]
    assert result.samples[0].predicted == ABSTAINS
    result = evaluate(model, x, y, Linf(2.5), [PGD(20)])
    assert result.samples[1].verdict is Verdict.FALSIFIED


@pytest.mark.parametrize(
    "detector", [LowConfidence(0.5), Squeezing((BitDepth(2), Median(2)), 0.0)], ids=lambda d: type(d).__name__
)
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5])
def test_calibrated_detectors_abstain_on_the_share_asked_for(
    detector: LowConfidence | Squeezing, rate: float
) -> None:
    base, (x, _) = controls.base(), controls.digits()
    model = detector.calibrated(base, x, rate).around(base)
    abstained = (model(x).argmax(1) == 10).float().mean()
    assert rate - 0.02 <= abstained <= rate


def test_padding_shows_the_image_at_every_size_and_place() -> None:
    x = uniform(2, 5, 5, seed=1) + 1
    law = RandomPadding(5, 4, 7)
    copies = law.perturb(x, Draws(stream_key(0, "law", 1, "a"), 0, 500, torch.device("cpu"), x.dtype))
    assert copies.shape == (500, 2, 7, 7)
    seen = set()
    for copy in copies:
        inside = copy[0] > 0
        rows, columns = (inside.any(axis).nonzero()[:, 0] for axis in (1, 0))
        size = len(rows)
        seen.add((size, int(rows[0]), int(columns[0])))
        shown = copy[:, rows[0] : rows[0] + size, columns[0] : columns[0] + size]
        expected = torch.nn.functional.interpolate(x[None], (size, size), mode="nearest")[0]
        assert torch.equal(shown, expected)
        assert not copy[:, ~inside].any()
    assert seen == {(r, i, j) for r in (4, 5, 6) for i in range(8 - r) for j in range(8 - r)}


def halfspace(z: Tensor) -> Tensor:
    return torch.stack([-z.flatten(1)[:, 0], z.flatten(1)[:, 0]], dim=1)


def random_models() -> list[Sampled]:
    return [
        RandomNoise(0.5).around(model_of(halfspace), 50, 300),
        Smoothed(model_of(halfspace), Gaussian(0.5), 50, 300),
    ]


@pytest.mark.parametrize("model", random_models(), ids=lambda m: type(m).__name__)
def test_random_models_answer_by_seed_and_sample_alone(model: Sampled) -> None:
    x, y, ids = normal(6, 2, seed=1).float(), torch.tensor([0, 1] * 3), (5, 3, 9, 1, 0, 2)
    votes = model.votes(x, ids, Run(), "a")
    assert votes.sum(1).tolist() == [50] * 6
    assert torch.equal(votes, model.votes(x, ids, Run(), "a"))
    assert not torch.equal(votes, model.votes(x, ids, Run(), "b"))
    assert not torch.equal(votes, model.votes(x, ids, Run(seed=1), "a"))
    assert torch.equal(votes.flip(0), model.votes(x.flip(0), ids[::-1], Run(), "a"))
    p_values = model.p_values(x, y, ids, Run(), "a")
    for i in range(6):
        part = slice(i, i + 1)
        assert torch.equal(votes[part], model.votes(x[part], ids[part], Run(), "a"))
        assert model.p_values(x[part], y[part], ids[part], Run(), "a") == p_values[part]
    draws = model.draws(x, ids, 50, Run(), ["a"] * 6)
    assert torch.equal(draws.argmax(2).sum(1), votes[:, 1])
    with pytest.raises(UsageError, match="no exact forward pass"):
        model(x)


def test_votes_do_not_depend_on_how_they_are_cut() -> None:
    model, x = RandomNoise(0.5).around(model_of(halfspace)), torch.zeros(1, 2)
    whole = model.votes(x, (4,), Run(), "a", 2500)
    draws = model.draws(x, (4,), 2500, Run(), ["a"])
    assert whole[0, 1] == draws.argmax(2).sum()
    assert abs(int(whole[0, 1]) - 1250) < 150


def test_the_test_errs_as_rarely_as_it_says_and_finds_what_is_wrong() -> None:
    model = RandomNoise(0.5).around(model_of(halfspace), 20, 100)
    count = 400
    level, y = torch.zeros(count, 2), torch.zeros(count, dtype=torch.long)
    p = torch.tensor(model.p_values(level, y, range(count), Run(), "level"))
    for alpha in (0.05, 0.2):
        wrong = int((p <= alpha).sum())
        assert binom.isf(1 - 1e-6, count, alpha) / 3 <= wrong <= binom.isf(1e-6, count, alpha)
    lost = model.p_values(level + 0.5, y, range(count), Run(), "lost")
    assert sum(each < 1e-3 for each in lost) > 0.99 * count


class TestEoT(DeciderConformance):
    def decider(self) -> EoT:
        return EoT(PGD(10), m=8)

    def query(self) -> Query:
        """Noise of 0.5 moves the boundary at 0 nowhere; half of the samples are nearer than eps."""
        model = RandomNoise(0.5).around(model_of(halfspace), 100, 1000)
        x = torch.tensor([[0.6, 0.1], [-0.7, 0.2], [0.2, 0.0], [-0.15, 0.4]], dtype=torch.float64)
        return Query(model, x, (x[:, 0] > 0).long(), Linf(0.4), (7, 8, 9, 10))

    def test_witnesses_are_counterexamples_without_tolerance(self) -> None:
        """Of a random model: by its own test, at the level of the evidence, where the votes are clear.

        A candidate may be one where they are close: whether the label is lost there is for the test to say.
        """
        query = self.query()
        clear = [each.witness is not None and int(each.detail["lead"]) > 0 for each in self.answers()]
        assert any(clear)
        for i, each in enumerate(self.answers()):
            if each.witness is not None and clear[i]:
                part = query[torch.arange(len(query.x)) == i]
                assert part.region.contains(each.witness[None]).all()
                p = part.model.p_values(each.witness[None], part.y, part.samples, Run(), "replay")
                assert p[0] <= each.alpha

    def test_margins_are_lower_bounds(self) -> None:
        assert all(each.margin is None for each in self.answers())

    def test_nothing_moves_at_eps_zero(self) -> None:
        """A candidate may stay: only a test says where a random model's label is lost."""
        query = self.query()
        still = Query(query.model, query.x[:2], query.y[:2], query.threat.at(0.0), query.samples[:2])
        assert all(each.witness is None for each in self.decider().decide(still, Run()))


class TestFiniteDifferences(DeciderConformance):
    def decider(self) -> FiniteDifferences:
        return FiniteDifferences(PGD(10), 0.1, m=8)

    def query(self) -> Query:
        model = mlp((2, 16, 16, 3), valid=UNIT)
        x = uniform(12, 2, seed=5)
        return Query(model, x, right_answers(model, x), Linf(0.2), tuple(range(100, 112)))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_eot_is_blind_to_the_scale_of_the_logits(scale: float) -> None:
    (x, y), noisy = controls.digits(), controls.noisy()
    model = RandomNoise(0.3).around(Temperature(1 / scale).around(noisy.base))
    result = evaluate(model, x[:8], y[:8], Linf(0.2), [EoT(PGD(20), m=16)])
    assert result.robust_accuracy[1] <= 0.7


def test_eot_counts_every_draw() -> None:
    query = TestEoT().query()
    evidence = EoT(PGD(5), m=8).decide(query, Run())
    assert evidence[0].detail["forwards"] == 6 * 8
    assert evidence[0].detail["backwards"] == 5 * 8


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Temperature(0.0), "t of Temperature"),
        (lambda: Temperature(float("inf")), "t of Temperature"),
        (lambda: MeanLogits().of(image_model()), "at least two"),
        (lambda: MeanLogits().of(image_model(), model_of(ramp)), "members of an ensemble agree"),
        (lambda: LowConfidence(1.0), "threshold"),
        (lambda: Squeezing((), 1.0), "at least one squeezer"),
        (lambda: Squeezing((BitDepth(3),), 2.5), "threshold"),
        (lambda: LowConfidence(0.5).calibrated(image_model(), uniform(2, 1, 8, 8, seed=1), 1.0), "rate"),
        (lambda: RandomNoise(0.0), "sigma"),
        (lambda: RandomPadding(8, 8, 8), "low < high"),
        (lambda: RandomPadding(8, 6, 9).around(image_model()), "makes images of 9 x 9"),
        (lambda: RandomNoise(0.1).around(image_model(), n0=0), "n0 is 0"),
        (lambda: JPEG(50).around(RandomNoise(0.1).around(image_model())), "answers by sampling"),
        (lambda: RandomNoise(0.1).around(RandomNoise(0.1).around(image_model())), "answers by sampling"),
        (lambda: Temperature(2.0).around(LowConfidence(0.5).around(image_model())), "may abstain"),
        (lambda: LowConfidence(0.5).around(LowConfidence(0.5).around(image_model())), "may abstain"),
        (lambda: EoT(PGD(), m=0), "m of EoT"),
        (lambda: EoT(PGD(), alpha=1.0), "alpha"),
        (lambda: FiniteDifferences(PGD(), 0.0), "sigma"),
        (lambda: FiniteDifferences(PGD(), 0.1, 0), "m of"),
    ],
)
def test_wrong_settings_are_named(make, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        make()


def test_attacks_say_which_models_they_are_for() -> None:
    x, y = uniform(1, 1, 8, 8, seed=1), torch.tensor([0])
    random = Query(RandomNoise(0.1).around(image_model()), x, y, Linf(0.1), (0,))
    plain = Query(image_model(), x, y, Linf(0.1), (0,))
    assert EoT(PGD()).supports(random) is None
    assert "does not answer by sampling" in str(EoT(PGD()).supports(plain))
    assert FiniteDifferences(PGD(), 0.1).supports(plain) is None
    assert "EoT" in str(FiniteDifferences(PGD(), 0.1).supports(random))
    flat = RandomNoise(0.1).around(model_of(lambda z: (z.flatten(1)[:, :2] > 0).double(), (1, 8, 8)))
    assert "no gradient" in str(EoT(PGD()).supports(Query(flat, x, y, Linf(0.1), (0,))))


def test_graphs_are_inlined_only_where_they_fit() -> None:
    graph = mlp((2, 4, 3)).graph
    assert graph is not None
    builder = bounds.Builder((3,))
    with pytest.raises(bounds.BoundsError, match="expects"):
        builder.inlined(graph, builder.input)
