"""The engine: the same votes in any batch, order and company, and models that cannot be counted."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from certify.errors import UsageError
from certify.noise import Draws, stream_key
from certify.run import Run
from certify.smoothing import Gaussian
from certify.smoothing.engine import PIECE, Engine, Procedure
from certify.smoothing.intervals import IntArray
from certify.smoothing.modes import Ask
from certify.smoothing.votes import InMemory
from tests.certify.smoothing.models import halfspace, thirds

LAW = Gaussian(0.5)
X = torch.linspace(-0.4, 0.6, 10).view(5, 2)
IDS = (3, 0, 11, 7, 5)


def once(count: int, stream: str = "a") -> Procedure[IntArray]:
    return (yield Ask(stream, count))


def counts(forward=thirds, n=250, x=X, ids=IDS, classes=3, batch_size=1000, run=None, law=LAW, stream="a"):
    engine = Engine(forward, law, batch_size, run or Run(), InMemory())
    return np.stack(engine.outcomes(x, ids, classes, [once(n, stream) for _ in ids]))


def test_votes_equal_a_plain_loop():
    n = 237
    for row, (x, sample) in enumerate(zip(X, IDS, strict=True)):
        votes: Counter[int] = Counter()
        for j in range(n):
            draw = Draws(stream_key(0, repr(LAW), sample, "a"), j, 1, torch.device("cpu"), x.dtype)
            votes[int(thirds(LAW.perturb(x, draw)).argmax())] += 1
        assert counts(n=n)[row].tolist() == [votes[c] for c in range(3)]
        assert len(votes) > 1


@pytest.mark.parametrize("batch_size", [1, 7, 99, 100, 101, 300, 10_000])
def test_votes_do_not_depend_on_the_batch(batch_size):
    seen = []

    def watched(z: Tensor) -> Tensor:
        seen.append(len(z))
        return thirds(z)

    assert (counts(watched, batch_size=batch_size) == counts()).all()
    assert max(seen) <= batch_size
    assert sum(seen) == 5 * 250
    assert all(rows == batch_size for rows in seen[:-1])


def test_votes_do_not_depend_on_order_or_company():
    whole = counts()
    order = [4, 2, 0, 3, 1]
    assert (counts(x=X[order], ids=[IDS[i] for i in order]) == whole[order]).all()
    assert (counts(x=X[2:3], ids=IDS[2:3]) == whole[2:3]).all()


def test_votes_depend_on_seed_sample_stream_and_law():
    def one(run=None, sample=0, stream="a", law=LAW):
        return counts(x=X[:1], ids=(sample,), n=2000, run=run, stream=stream, law=law)[0].tolist()

    others = [one(Run(seed=1)), one(sample=1), one(stream="b"), one(law=Gaussian(0.51))]
    assert one() == one()
    assert all(other != one() for other in others)


def adaptive(trace: list[int]) -> Procedure[int]:
    """Goes on until it has seen 60 votes for class 0, looking ever more rarely."""
    seen, count = 0, 10
    while seen < 60:
        votes = yield Ask("a", count)
        assert votes.sum() == count
        seen, count = seen + int(votes[0]), 2 * count
        trace.append(seen)
    return seen


def test_procedures_of_many_lengths_share_full_batches():
    alone = []
    for row, sample in enumerate(IDS):
        trace: list[int] = []
        Engine(thirds, LAW, 64, Run(), InMemory()).outcomes(X[row : row + 1], (sample,), 3, [adaptive(trace)])
        alone.append(trace)
    sizes = []

    def watched(z: Tensor) -> Tensor:
        sizes.append(len(z))
        return thirds(z)

    together: list[list[int]] = [[] for _ in IDS]
    Engine(watched, LAW, 40, Run(), InMemory()).outcomes(X, IDS, 3, [adaptive(t) for t in together])
    assert together == alone
    assert len({len(t) for t in alone}) > 1
    assert sum(size == 40 for size in sizes[: len(sizes) // 2]) > len(sizes) // 2 - 2


def test_streams_continue_and_are_independent():
    def both() -> Procedure[list[list[int]]]:
        found = []
        for stream in ("a", "b", "a"):
            votes = yield Ask(stream, 50)
            found.append(votes.tolist())
        return found

    first, other, second = Engine(thirds, LAW, 100, Run(), InMemory()).outcomes(X[:1], (3,), 3, [both()])[0]
    whole = counts(n=100, x=X[:1], ids=(3,))[0].tolist()
    assert [p + q for p, q in zip(first, second, strict=True)] == whole
    assert other == counts(n=50, x=X[:1], ids=(3,), stream="b")[0].tolist()


def test_known_votes_are_not_drawn_again():
    n = 2 * PIECE + 500
    memory = InMemory()
    drawn = []

    def watched(z: Tensor) -> Tensor:
        drawn.append(len(z))
        return thirds(z)

    def votes(count: int) -> list[int]:
        drawn.clear()
        engine = Engine(watched, LAW, 5000, Run(), memory)
        return engine.outcomes(X[:1], (3,), 3, [once(count)])[0].tolist()

    first = votes(n)
    assert sum(drawn) == n
    assert votes(n) == first
    assert not drawn
    memory.known.pop((3, "a", PIECE))
    assert votes(n) == first
    assert sum(drawn) == PIECE
    assert votes(n + 1000) == counts(n=n + 1000, x=X[:1], ids=(3,))[0].tolist()
    assert sum(drawn) == 1000


def test_short_memory_is_met_by_smaller_calls():
    def greedy(z: Tensor) -> Tensor:
        if len(z) > 30:
            raise torch.OutOfMemoryError("out of memory")
        return thirds(z)

    assert (counts(greedy) == counts()).all()

    def hopeless(z: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        counts(hopeless)


def test_a_batch_is_fitted_to_the_memory():
    def greedy(z: Tensor) -> Tensor:
        if len(z) > 30:
            raise torch.OutOfMemoryError("out of memory")
        return thirds(z)

    for forward, rows in ((greedy, 25), (thirds, 200)):
        assert Engine(forward, LAW, 200, Run(), InMemory()).fitting(X[0]).batch_size == rows


def test_many_classes():
    """Class ids beyond 16 bits are counted where they belong."""

    def digits(z: Tensor) -> Tensor:
        vote = 39_998 + (z[:, :1] > 0).long()
        return torch.zeros(len(z), 40_000).scatter(1, vote, 1.0)

    found = counts(digits, classes=40_000)
    assert found.shape == (5, 40_000)
    assert (found[:, :39_998] == 0).all()
    assert (found[:, 39_998:] == counts(halfspace, classes=2)).all()


def test_one_class():
    assert counts(lambda z: z[:, :1], classes=1).tolist() == [[250]] * 5


def test_images_and_progress():
    seen = []
    run = Run(progress=lambda stage, done, total: seen.append((stage, done, total)))
    found = counts(halfspace, 200, torch.zeros(2, 1, 3, 3), (0, 1), 2, 150, run)
    assert found.sum(1).tolist() == [200, 200]
    assert seen[-1] == ("smoothing", 2, 2)


def test_a_rare_nan_names_its_sample():
    def brittle(z: Tensor) -> Tensor:
        return torch.where(z[:, :1] > 1.5, torch.nan, halfspace(z))

    x = torch.tensor([[-3.0, 0.0], [0.0, 0.0], [-3.0, 1.0]])
    with pytest.raises(UsageError, match="NaN for noisy copies of sample 41"):
        counts(brittle, 5000, x, (40, 41, 42), 2)


def probe(forward, batch_size=1000, sample=0) -> int:
    return Engine(forward, LAW, batch_size, Run(), InMemory()).probe(X[0], sample)


def test_probe_finds_nan():
    with pytest.raises(UsageError, match="NaN for noisy copies of sample 9"):
        probe(lambda z: halfspace(z) * torch.nan, sample=9)


def test_infinite_logits_are_scores():
    assert probe(lambda z: halfspace(z) * torch.inf) == 2


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_dropout_is_refused(batch_size):
    net = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.5), nn.Linear(64, 3))
    with pytest.raises(UsageError, match=r"not deterministic.*eval\(\)"):
        probe(net, batch_size)
    assert probe(net.eval(), batch_size) == 3


@pytest.mark.parametrize("batch_size", [2, 3, 1000])
def test_batch_statistics_are_refused(batch_size):
    with torch.random.fork_rng():  # two samples of few networks get the same label in any company
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    with pytest.raises(UsageError, match=r"rest of its batch.*eval\(\)"):
        probe(net, batch_size)
    assert probe(net.eval(), batch_size) == 3


@pytest.mark.parametrize(
    "forward",
    [
        lambda z: z.sum(1),
        lambda z: z[:, :0],
        lambda z: halfspace(z)[:1],
        lambda z: halfspace(z).long(),
        lambda z: halfspace(z)[:, :, None],
    ],
)
def test_wrong_logits_are_refused(forward):
    with pytest.raises(UsageError, match="logits"):
        probe(forward)


def test_a_changing_number_of_classes_is_refused():
    with pytest.raises(UsageError, match="3 classes"):
        counts(halfspace)


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_a_model_that_changes_its_input_is_refused(batch_size):
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 3))
    with pytest.raises(UsageError, match="overwrites its input"):
        probe(net, batch_size)
