"""Other ways to execute the network: named in the record, and the counts of the function that was run."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from certify.errors import UsageError
from certify.run import Run
from certify.smoothing import Gaussian, Smoothing
from certify.smoothing.engine import Engine
from certify.smoothing.execution import Execution
from certify.smoothing.shards import sharded
from certify.smoothing.votes import InMemory
from tests.certify.smoothing.models import thirds
from tests.certify.smoothing.test_engine import IDS, LAW, X, counts, once


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


IMAGES = torch.linspace(0, 1, 2 * 3 * 64).view(2, 3, 8, 8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_what_runs(dtype):
    seen = []

    def watched(z: Tensor) -> Tensor:
        logits = network()(z)
        seen.append(logits.dtype)
        return logits

    certifier = Smoothing(0.25, n0=20, n=200, execution=Execution(dtype=dtype))
    result = certifier.certify(watched, IMAGES)
    assert set(seen) == {getattr(torch, dtype)}
    assert dtype in result.execution
    assert dtype in repr(certifier)
    assert result.n.tolist() == [200, 200]


def test_channels_last_changes_no_count_of_a_linear_vote():
    seen = []

    def watched(z: Tensor) -> Tensor:
        seen.append(z.is_contiguous(memory_format=torch.channels_last))
        return thirds(z)

    last = Smoothing(0.25, n0=20, n=200, execution=Execution(channels_last=True)).certify(watched, IMAGES)
    assert all(seen)
    assert torch.equal(last.hits, Smoothing(0.25, n0=20, n=200).certify(thirds, IMAGES).hits)


def test_another_dtype_is_refused():
    with pytest.raises(UsageError, match="bfloat16"):
        Execution(dtype="float8")


def test_static_batches_have_one_shape_and_the_same_votes():
    shapes = []

    def watched(z: Tensor) -> Tensor:
        shapes.append(tuple(z.shape))
        return thirds(z)

    engine = Engine(watched, LAW, 64, Run(), InMemory(), static=True)
    found = engine.outcomes(X, IDS, 3, [once(250) for _ in IDS])
    assert set(shapes) == {(64, 2)}
    assert [votes.tolist() for votes in found] == counts().tolist()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own compiler raises it
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled():
    plain = Smoothing(0.25, n0=20, n=200, batch_size=50)
    fast = Smoothing(0.25, n0=20, n=200, batch_size=50, execution=Execution(compile=True))
    a, b = plain.certify(network(), IMAGES), fast.certify(network(), IMAGES)
    assert "compile=True" in b.execution
    assert (a.hits - b.hits).abs().max() <= 2


SHARDED = """
    import sys
    import torch
    from certify.run import Run
    from certify.smoothing import Smoothing
    from certify.smoothing.shards import sharded
    from tests.certify.smoothing.models import thirds
    torch.distributed.init_process_group("gloo")
    certifier = Smoothing(sigma=0.5, n0=50, n=500)
    x = torch.linspace(-0.4, 0.6, 10).view(5, 2)
    result = sharded(lambda x, ids: certifier.certify(thirds, x, Run(), ids), x, (3, 0, 11, 7, 5))
    if torch.distributed.get_rank() == 0:
        torch.save([result.hits, result.label, result.radius], sys.argv[1])
    torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_any_number_of_processes_gives_the_same(tmp_path, processes):
    script, out = tmp_path / "work.py", tmp_path / "out.pt"
    script.write_text(textwrap.dedent(SHARDED))
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    # the script lies elsewhere: it finds the tests from the root of the repository
    found = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(
        [sys.executable, *launch, str(script), str(out)], check=True, capture_output=True, env=found
    )
    x = torch.linspace(-0.4, 0.6, 10).view(5, 2)
    whole = Smoothing(sigma=0.5, n0=50, n=500).certify(thirds, x, samples=(3, 0, 11, 7, 5))
    for found, expected in zip(torch.load(out), (whole.hits, whole.label, whole.radius), strict=True):
        assert torch.equal(found, expected)


def test_a_law_of_its_own():
    a = Smoothing(law=Gaussian(0.5), n0=20, n=200).certify(thirds, X)
    b = Smoothing(0.5, n0=20, n=200).certify(thirds, X)
    assert torch.equal(a.hits, b.hits)
    assert a.law == b.law
    for arguments in ({"law": Gaussian(0.5), "sigma": 1.0}, {}, {"law": Gaussian(0.5), "exact": True}):
        with pytest.raises(UsageError):
            Smoothing(**arguments)


def test_exact_sampling_is_another_law():
    x = torch.randint(0, 256, (2, 1, 4, 4), generator=torch.Generator().manual_seed(0)) / 255
    exact = Smoothing(0.25, n0=20, n=200, exact=True)
    assert exact.noise != Smoothing(0.25).noise
    assert exact.certify(thirds, x).law == repr(exact.noise)
    with pytest.raises(UsageError, match="8-bit"):
        exact.certify(thirds, x + 0.001)


@pytest.mark.parametrize(
    ("count", "ids", "reason"),
    [(2, (0, 1), "3 processes"), (4, (0, 1, 2), "3 sample ids"), (4, (0, 1, 2, 0), "occurs twice")],
)
def test_every_process_refuses_shares_that_cannot_be_joined(monkeypatch, count, ids, reason):
    """If one process alone refused its share, the others would wait for it."""
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with pytest.raises(UsageError, match=reason):
        sharded(lambda x, part: pytest.fail("work was started"), torch.zeros(count, 2), ids)
