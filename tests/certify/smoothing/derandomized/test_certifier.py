"""The certifier of enumerated classifiers against all that an adversary can do, listed."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from bounds.rounding import Level
from certify.decide import evaluate
from certify.errors import UsageError
from certify.evidence import Claim
from certify.model import Model, load
from certify.query import Query
from certify.run import Run
from certify.smoothing.derandomized import Bands, Blocks, Derandomized, Enumerated, Splitting
from certify.threat import L1, L2, Linf, Patch
from certify.verdict import Verdict
from tests.certify.smoothing.conformance import draws
from tests.certify.smoothing.models import halfspace, model_of

FLOAT = Level.FLOAT


def lit(winner: int):
    """Votes for ``winner`` unless some element is 1, then for the other of two classes."""

    def forward(z: Tensor) -> Tensor:
        dark = (z != 1).flatten(1).all(1).double()
        return torch.stack([dark, 1 - dark] if winner == 0 else [1 - dark, dark], dim=1)

    return forward


def patched(x: Tensor, side: int) -> Tensor:
    """The image with a patch of ones at every place: (places, *shape)."""
    found = []
    for i, j in itertools.product(range(x.shape[-2] - side + 1), range(x.shape[-1] - side + 1)):
        other = x.clone()
        other[:, i : i + side, j : j + side] = 1
        found.append(other)
    return torch.stack(found)


@pytest.mark.parametrize("winner", [0, 1])
@pytest.mark.parametrize(
    "law", [Bands(1, -1), Bands(2, -1), Bands(3, -1), Blocks(1, -1), Blocks(3, -1)], ids=repr
)
def test_patches_up_to_the_radius_leave_the_label_and_larger_ones_do_not(law, winner):
    """The worst base classifier: every copy that sees the patch changes its vote."""
    x = torch.zeros(1, 8, 8)
    model = model_of(lit(winner), (1, 8, 8), valid=(0.0, 1.0))
    result = Derandomized(law, FLOAT).certify(model, x[None])
    side = int(result.radius)
    assert result.label.tolist() == [winner]
    assert 0 < side < 8
    smoothed = Enumerated(model, law)
    assert (smoothed(patched(x, side)).argmax(1) == winner).all()
    assert (smoothed(patched(x, side + 1)).argmax(1) != winner).all()
    gap = law.copies((1, 8, 8)) - 2 * law.changed(Patch(side), (1, 8, 8))
    assert gap >= winner  # a tie is for the first class


@pytest.mark.parametrize("winner", [0, 1])
@pytest.mark.parametrize("splits", [9, 10])
def test_levels_up_to_the_radius_leave_the_label_and_more_do_not(splits, winner):
    """The worst base classifier knows the copies of x; every other copy gets the other vote."""
    law, x = Splitting(splits), torch.tensor([[100.0, 130.0]]) / 255

    def forward(z: Tensor) -> Tensor:
        own = law.perturb(x[0], draws(splits, dtype=x.dtype))
        known = (z[:, None] == own).all(2).any(1).float()
        return torch.stack([known, 1 - known] if winner == 0 else [1 - known, known], dim=1)

    model = model_of(forward, (2,), valid=(0.0, 1.0))
    result = Derandomized(law, FLOAT).certify(model, x)
    levels = round(float(result.radius) * 255)
    assert levels == (splits - winner) // 2
    smoothed, whole = Enumerated(model, law), torch.cartesian_prod(*[torch.arange(256.0)] * 2)
    distance = (whole - torch.tensor([100.0, 130.0])).abs().sum(1)
    near = distance <= levels + 3
    kept = smoothed(whole[near] / 255).argmax(1) == winner
    assert kept[distance[near] <= levels].all()
    further = whole[near][distance[near] == levels + 1]
    one = (further == torch.tensor([100.0, 130.0])).any(1)  # changes of one number separate most
    assert not kept[distance[near] == levels + 1][one].any()


def thirds(z: Tensor) -> Tensor:
    """Three classes with curved borders, exactly the same for the same row."""
    a, b = 14 * z.double().unbind(1)[0], 11 * z.double().unbind(1)[1]
    return torch.stack([torch.sin(a + b), torch.cos(a - b), 0.4 + 0 * a], dim=1)


def test_every_8_bit_input_within_the_radius_has_the_label():
    """All inputs of two numbers in a square of 72 x 72: certified ones agree with all within the radius."""
    law = Splitting(24, seed=2)
    smoothed = Enumerated(model_of(thirds, (2,), classes=3, valid=(0.0, 1.0)), law)
    whole = torch.cartesian_prod(torch.arange(72.0), torch.arange(184.0, 256.0))
    label = smoothed(whole / 255).argmax(1)
    chosen = torch.arange(0, len(whole), 67)
    result = Derandomized(law, FLOAT).certify(smoothed, whole[chosen] / 255)
    assert torch.equal(result.label, label[chosen])
    assert len(result.label.unique()) == 3
    assert (result.radius > 0).float().mean() > 0.5
    for place, radius in zip(chosen.tolist(), result.radius.tolist(), strict=True):
        near = (whole - whole[place]).abs().sum(1) <= round(radius * 255)
        assert (label[near] == label[place]).all()


def test_votes_ties_and_scores():
    """Four columns that vote 1, 1, 2, 2: class 1 wins the tie, with a lead of 0."""

    def forward(z: Tensor) -> Tensor:
        column = z.flatten(1)[:, :4].argmax(1)
        return nn.functional.one_hot(column // 2 + 1, 3).double()

    x = torch.full((1, 1, 1, 4), 0.5)
    model = model_of(forward, (1, 1, 4), classes=3, valid=(0.0, 1.0))
    result = Derandomized(Bands(1, 0.0), FLOAT).certify(model, x)
    assert result.counts.tolist() == [[0, 2, 2]]
    assert (result.label.item(), result.radius.item(), result.lead.item()) == (1, 0.0, 0)
    assert Enumerated(model, Bands(1, 0.0))(x).tolist() == [[0, 5, 4]]


def network(seed: int = 4) -> Model:
    """A small network of images."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(torch.randn(each.shape, generator=generator) / 3)
    return load(module, input_shape=(1, 6, 6))


def images(n: int = 8) -> Tensor:
    return torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("level", [Level.REAL, Level.DEPLOYED])
def test_proved_votes_are_the_votes(level):
    law = Bands(2, -1)
    proved, plain = (Derandomized(law, each).certify(network(), images()) for each in (level, FLOAT))
    assert (proved.counts <= plain.counts).all()
    assert torch.equal(proved.counts.sum(1) + proved.unsure, plain.counts.sum(1))
    assert (proved.unsure <= 1).all()
    assert (proved.radius <= plain.radius).all()
    assert (plain.radius > 0).any()


def test_votes_that_rounding_decides_are_not_counted():
    """Two classes with the same weights tie in exact arithmetic; only the third one's votes are certain."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1.0] * 4, [1.0] * 4, [3.0, 0, 0, 0]]))
    model = load(module, input_shape=(1, 2, 2))
    x = torch.tensor([[[[0.5, 0.25], [0.1, 0.3]]]])  # columns (0.5, 0.1) and (0.25, 0.3)
    result = Derandomized(Bands(1, 0.0)).certify(model, x)
    assert (result.counts.tolist(), result.unsure.tolist()) == ([[0, 0, 1]], [1])
    assert (result.label.tolist(), result.radius.tolist()) == ([-1], [0.0])
    assert Derandomized(Bands(1, 0.0), FLOAT).certify(model, x).counts.sum() == 2


def test_evidence_margins_bound_the_scores_under_every_patch():
    model, law, x = network(), Bands(2, 0.0), images()
    smoothed, decider = Enumerated(model, law), Derandomized(law)
    y = smoothed(x).argmax(1)
    query = Query(smoothed, x, y, Patch(1), tuple(range(8)))
    evidence = decider.decide(query, Run())
    assert decider.claims == {Claim.ROBUST}
    for each, image, label in zip(evidence, x, y.tolist(), strict=True):
        assert (each.level, each.alpha, each.decider) == (Level.REAL, 0.0, repr(decider))
        assert (each.detail["changed"], each.detail["copies"]) == (2, 6)
        scores = smoothed(torch.cat([image[None], patched(image, 1), 1 - patched(1 - image, 1)]))
        others = scores.clone()
        others[:, label] = -torch.inf
        assert each.margin <= float((scores[:, label] - others.amax(1)).min())
        assert (each.margin > 0) == (each.detail["radius"] >= 1)
    assert any(each.margin > 0 for each in evidence)
    assert any(each.margin < 0 for each in evidence)


def test_evaluation_of_an_enumerated_model():
    smoothed, x = Derandomized(Bands(2, 0)).smoothed(network()), images()
    y = smoothed(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    result = evaluate(smoothed, x, y, Patch(1), [Derandomized(Bands(2, 0))])
    assert result.samples[0].verdict is Verdict.MISCLASSIFIED
    assert 0 < result.counts[Verdict.VERIFIED] < 7
    assert result.alpha == 0


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batches_change_nothing(batch_size):
    law = Blocks(3, -1)
    one, other = Derandomized(law, FLOAT), Derandomized(law, FLOAT, batch_size=batch_size)
    assert one == other
    assert repr(one) == repr(other)
    assert torch.equal(one.certify(network(), images()).counts, other.certify(network(), images()).counts)


def test_enumerated_is_another_model():
    base = network()
    models = [Enumerated(base, law) for law in (Bands(1, 0), Bands(2, 0), Blocks(1, 0), Splitting(9))]
    assert len({m.digest for m in (base, *models)}) == 5
    assert models[0].name == f"{base.name} smoothed by all of Bands(width=1, null=0.0)"
    assert torch.equal(models[0].to("cpu")(images()), models[0](images()))
    with pytest.raises(UsageError, match="smoothed already"):
        Enumerated(models[0], Bands(1, 0))
    with pytest.raises(UsageError, match="give at most 6"):
        Enumerated(base, Bands(7, 0))


@pytest.mark.parametrize(
    ("model", "threat", "reason"),
    [
        (network(), Patch(1), "not smoothed"),
        (Enumerated(network(), Bands(3, 0.0)), Patch(1), "use the same law"),
        (Enumerated(network(), Bands(2, 0.0)), L2(0.1), "says nothing about L2"),
        (Enumerated(network(), Bands(2, 0.0)), Linf(0.1), "says nothing about Linf"),
        (Enumerated(model_of(halfspace, (1, 6, 6)), Bands(2, 0.0)), Patch(1), "graph"),
    ],
)
def test_refused_queries(model, threat, reason):
    decider = Derandomized(Bands(2, 0.0))
    query = Query(model, images(2), torch.zeros(2, dtype=torch.int64), threat, (0, 1))
    assert reason in decider.supports(query)
    with pytest.raises(UsageError, match=reason):
        decider.decide(query, Run())


@pytest.mark.parametrize(
    ("model", "x", "match"),
    [
        (halfspace, torch.zeros(0, 1, 2, 2), "at least one"),
        (halfspace, torch.full((1, 1, 2, 2), torch.nan), "NaN"),
        (lambda z: z.flatten(1)[:, :2] * torch.nan, torch.zeros(1, 1, 2, 2), "NaN"),
        (lambda z: torch.rand(len(z), 2), torch.zeros(1, 1, 2, 2), "not deterministic"),
        (halfspace, torch.zeros(1, 4), "about images"),
    ],
)
def test_bad_inputs_and_models(model, x, match):
    with pytest.raises(UsageError, match=match):
        Derandomized(Bands(1, 0.0), FLOAT).certify(model, x)


def test_splitting_wants_8_bit_inputs():
    smoothing = Derandomized(Splitting(20), FLOAT)
    assert smoothing.certify(halfspace, torch.tensor([[1.0, 0.2]])).label.tolist() == [1]
    with pytest.raises(UsageError, match="8-bit"):
        smoothing.certify(halfspace, torch.tensor([[0.3, 0.201]]))
    query = Query(
        Enumerated(model_of(halfspace, valid=(0.0, 1.0)), Splitting(20)),
        torch.tensor([[1.0, 0.2]]),
        torch.tensor([1]),
        L1(0.01),
        (5,),
    )
    with pytest.raises(UsageError, match="says nothing about L1"):  # which reaches 0.2001, too
        smoothing.decide(query, Run())
    with pytest.raises(UsageError, match="batch_size"):
        Derandomized(Splitting(20), batch_size=0)
