"""Vote counting: the same counts in any batch and order, and models that cannot be counted."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from certify.errors import UsageError
from certify.run import Run
from certify.smoothing import Gaussian
from certify.smoothing.sampling import BLOCK, Sampler
from tests.certify.smoothing.models import halfspace, thirds

LAW = Gaussian(0.5)
X = torch.linspace(-0.4, 0.6, 10).view(5, 2)
IDS = (3, 0, 11, 7, 5)


def sampler(forward=thirds, batch_size=1000, run=None) -> Sampler:
    return Sampler(forward, LAW, batch_size, run or Run())


def test_counts_equal_a_plain_loop():
    n = 2 * BLOCK + 37
    counts = sampler().count(X, IDS, 3, n, "estimation")
    for row, (x, sample) in enumerate(zip(X, IDS, strict=True)):
        votes: Counter[int] = Counter()
        for block, size in enumerate([BLOCK, BLOCK, 37]):
            noisy = LAW.perturb(x, size, Run().generator(repr(LAW), sample, f"estimation:{block}"))
            for z in noisy:
                votes[int(thirds(z[None]).argmax())] += 1
        assert counts[row].tolist() == [votes[c] for c in range(3)]
        assert len(votes) > 1


@pytest.mark.parametrize("batch_size", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 10_000])
def test_counts_do_not_depend_on_the_batch(batch_size):
    seen = []

    def watched(z: Tensor) -> Tensor:
        seen.append(len(z))
        return thirds(z)

    counts = sampler(watched, batch_size).count(X, IDS, 3, 250, "estimation")
    assert torch.equal(counts, sampler().count(X, IDS, 3, 250, "estimation"))
    assert max(seen) <= batch_size
    assert sum(seen) == 5 * 250


def test_counts_do_not_depend_on_order_or_company():
    whole = sampler().count(X, IDS, 3, 250, "estimation")
    order = torch.tensor([4, 2, 0, 3, 1])
    shuffled = sampler().count(X[order], tuple(IDS[i] for i in order.tolist()), 3, 250, "estimation")
    assert torch.equal(shuffled, whole[order])
    alone = sampler().count(X[2:3], IDS[2:3], 3, 250, "estimation")
    assert torch.equal(alone, whole[2:3])


def test_counts_depend_on_seed_sample_stage_and_law():
    def count(run: Run, sample: int, stage: str, law: Gaussian) -> list[int]:
        return Sampler(thirds, law, 1000, run).count(X[:1], (sample,), 3, 2000, stage)[0].tolist()

    base = count(Run(), 0, "a", LAW)
    others = [
        count(Run(seed=1), 0, "a", LAW),
        count(Run(), 1, "a", LAW),
        count(Run(), 0, "b", LAW),
        count(Run(), 0, "a", Gaussian(0.51)),
    ]
    assert base == count(Run(), 0, "a", LAW)
    assert all(other != base for other in others)


def test_inputs_share_a_batch():
    calls = []

    def watched(z: Tensor) -> Tensor:
        calls.append(len(z))
        return thirds(z)

    sampler(watched, 100).count(X, IDS, 3, 10, "selection")
    assert calls == [50]


def test_many_classes():
    """Class ids beyond 16 bits are counted where they belong."""

    def digits(z: Tensor) -> Tensor:
        vote = 39_998 + (z[:, :1] > 0).long()
        return torch.zeros(len(z), 40_000).scatter(1, vote, 1.0)

    counts = sampler(digits).count(X, IDS, 40_000, 200, "estimation")
    assert counts.shape == (5, 40_000)
    assert (counts[:, :39_998] == 0).all()
    assert torch.equal(counts[:, 39_998:], sampler(halfspace).count(X, IDS, 2, 200, "estimation"))


def test_images_and_progress():
    seen = []
    run = Run(progress=lambda stage, done, total: seen.append((stage, done, total)))
    x = torch.zeros(2, 1, 3, 3)
    counts = Sampler(halfspace, LAW, 150, run).count(x, (0, 1), 2, 200, "estimation")
    assert counts.sum(1).tolist() == [200, 200]
    assert seen[-1] == ("smoothing: estimation", 400, 400)


def test_a_rare_nan_names_its_sample():
    def brittle(z: Tensor) -> Tensor:
        return torch.where(z[:, :1] > 1.5, torch.nan, halfspace(z))

    x = torch.tensor([[-3.0, 0.0], [0.0, 0.0], [-3.0, 1.0]])
    with pytest.raises(UsageError, match="NaN for noisy copies of sample 41"):
        sampler(brittle).count(x, (40, 41, 42), 2, 5000, "estimation")


def test_probe_finds_nan():
    with pytest.raises(UsageError, match="NaN for noisy copies of sample 9"):
        sampler(lambda z: halfspace(z) * torch.nan).probe(X[0], 9)


def test_infinite_logits_are_scores():
    assert sampler(lambda z: halfspace(z) * torch.inf).probe(X[0], 0) == 2


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_dropout_is_refused(batch_size):
    net = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.5), nn.Linear(64, 3))
    with pytest.raises(UsageError, match=r"not deterministic.*eval\(\)"):
        sampler(net, batch_size).probe(X[0], 0)
    assert sampler(net.eval(), batch_size).probe(X[0], 0) == 3


@pytest.mark.parametrize("batch_size", [2, 3, 1000])
def test_batch_statistics_are_refused(batch_size):
    with torch.random.fork_rng():  # two samples of few networks get the same label in any company
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    with pytest.raises(UsageError, match=r"rest of its batch.*eval\(\)"):
        sampler(net, batch_size).probe(X[0], 0)
    assert sampler(net.eval(), batch_size).probe(X[0], 0) == 3


@pytest.mark.parametrize(
    "forward",
    [
        lambda z: z.sum(1),
        lambda z: z[:, :1],
        lambda z: halfspace(z)[:1],
        lambda z: halfspace(z).long(),
        lambda z: halfspace(z)[:, :, None],
    ],
)
def test_wrong_logits_are_refused(forward):
    with pytest.raises(UsageError, match="logits"):
        sampler(forward).probe(X[0], 0)


def test_a_changing_number_of_classes_is_refused():
    with pytest.raises(UsageError, match="3 classes"):
        sampler(halfspace).count(X, IDS, 3, 10, "estimation")
