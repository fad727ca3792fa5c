"""Draws per input that the modes of smoothing need, on published distributions and on a network of ours."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.options import BadRequest, Options, Suite
from benchmarks.table import Cell, Row
from certify.dataset import Dataset, load_npz
from certify.demo import CONFIG
from certify.model import Model, load
from certify.run import Run
from certify.smoothing import Smoothing, SmoothingResult
from certify.smoothing.laws import Gaussian
from certify.smoothing.modes import Anytime, Decide, Estimate, Fixed, Grid, Mode, Planned, TwoSided
from certify.smoothing.modes.decide import needed_probability

FloatArray = npt.NDArray[np.float64]

N = 100_000
ALPHA = 1e-3
# Few inputs take most of the draws of a decision: their mean needs more than one run.
REPEATS = 10
# The logs and the alpha they were made at, which their largest radii show.
LOGS = {"0.12": 1e-3, "0.25": 1e-2, "0.50": 1e-2, "1.00": 1e-3}
# Images of the demo, and the scales of the noise that its network is smoothed by.
IMAGES = 50
SIGMAS = (0.12, 0.25, 0.5)
# Radii asked about, in units of sigma.
RADII = (0.25, 0.5, 1.0, 1.5, 2.0)
GRID = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5)
SHOWN = (
    "votes",
    "sigma",
    "mode",
    "mean draws",
    "x fewer",
    "certified",
    "fixed certifies",
    "lost",
    "gained",
    "radius lost",
    "draws / Wald",
    "of",
    "asks",
)
NOTES = (
    "Published logs (Cohen et al. 2019, CIFAR-10, ResNet-110, 500 inputs each): for every input the "
    "probability of its class is taken to be the share of votes that the recorded radius shows; the inputs "
    "that abstained get probabilities spread evenly over (0.2, 0.5). Votes are then drawn from the binomial; "
    f"alpha = {ALPHA}, the reference is one Clopper-Pearson bound of n = {N}.",
    f"Demo network: the network of `certify demo` under normal noise, run on {IMAGES} of its images "
    "(8x8 digits); an input counts as certified with its true label alone, also for the reference. The rows "
    "of one sigma are about one seed's votes, as far as each mode draws them; the reference has votes of its "
    "own. `TwoSided` is here only, for the logs do not tell the other classes' votes.",
    "mean draws: per input, the selection's n0 left out on both sides. x fewer: the reference's n over that. "
    "certified: inputs beyond the mode's radius (for `Decide`), at any radius (others), against what the "
    "reference certifies by votes of its own; lost and gained: inputs on which the two differ, by chance too "
    "(two runs of the reference differ). radius lost: mean share of the reference's radius that is lost "
    "where it has one (negative: gained); for `Grid`, of the largest radius of the grid below it.",
    "draws / Wald: mean draws over the mean of the least that any test of this alpha can expect to need "
    "with power 0.999 (Wald 1945: kl(0.999, alpha) / kl(p, p_r) draws at p, where p_r is the probability "
    f"that the radius needs), over the inputs (of) where that is at most {N // 4}. asks: mean rounds. "
    f"Draws and asks of `Decide` are means of {REPEATS} runs on the logs. For the network p is the share of "
    "the reference's votes, and asks are not counted.",
)


@dataclass(frozen=True, eq=False)
class _Runs:
    """What a mode concluded per input, and by how many rounds of draws."""

    radius: FloatArray
    draws: FloatArray
    asks: FloatArray | None


def _suite_rows(options: Options) -> Iterator[Row]:
    logs = tuple(f"sigma{sigma}" for sigma in LOGS)
    demo = tuple(f"demo-sigma{sigma:g}" for sigma in SIGMAS)
    for net in options.pick((*logs, *demo), options.nets, "log or network"):
        sigma = net.split("sigma")[1]
        if net in demo:
            torch.set_num_threads(options.threads)
            yield from _network_rows(Gaussian(float(sigma)))
        else:
            yield from _log_rows(Gaussian(float(sigma)), _probabilities(options.data, sigma))


def _log_rows(law: Gaussian, p: FloatArray) -> Iterator[Row]:
    case = _Case("published log", law, p, _run(Fixed(N), law, p, 0).radius)
    for mode in _modes(law):
        yield case.row(mode, _run(mode, law, p, 1, REPEATS if isinstance(mode, Decide) else 1))


def _network_rows(law: Gaussian) -> Iterator[Row]:
    """The demo's network, really sampled."""
    config = CONFIG.parent
    model, data = load(config / "digits_cnn.onnx"), load_npz(config / "digits.npz", limit=IMAGES)
    first = _sampled(Fixed(N), law, model, data, seed=0)
    case = _Case("demo network", law, first.hits.numpy() / N, _radius(first, data))
    for mode in (*_modes(law), TwoSided(N)):
        found = _sampled(mode, law, model, data, seed=1)
        draws = found.n.double().numpy() + (mode.pilot if isinstance(mode, Planned) else 0)
        yield case.row(mode, _Runs(_radius(found, data), draws, None))


def _sampled(mode: Mode, law: Gaussian, model: Model, data: Dataset, seed: int) -> SmoothingResult:
    certifier = Smoothing(mode=mode, law=law, alpha=ALPHA, batch_size=500)
    return certifier.certify(model, data.x, Run(seed=seed))


def _radius(found: SmoothingResult, data: Dataset) -> FloatArray:
    """Radii of the inputs that are certified with their true label, 0 for the others."""
    radius: FloatArray = torch.where(found.label == data.y, found.radius, 0.0).numpy()
    return radius


def _modes(law: Gaussian) -> Iterator[Mode]:
    yield Fixed(N)
    for share in RADII:
        yield Decide(share * law.sigma)
    grid = tuple(share * law.sigma for share in GRID)
    yield from (Grid(grid, N), Grid(grid, N // 5), Planned(0.01), Planned(0.05), Anytime(N))


def _probabilities(data: Path, sigma: str) -> FloatArray:
    """Per input the share of votes that its recorded radius shows."""
    from scipy.stats import beta, norm

    path = data / "datasets" / "cohen_certify_logs" / f"cifar10_resnet110_sigma{sigma}.tsv"
    try:
        with path.open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise BadRequest(f"{error}; point --data at the folder of recorded data") from None
    counts = np.arange(N // 2, N + 1)
    plain = float(sigma) * norm.ppf(beta.ppf(LOGS[sigma], counts, N - counts + 1))
    recorded = np.array([float(row["radius"]) for row in rows])
    nearest = np.abs(plain[None, :] - recorded[:, None]).argmin(1)
    shares: FloatArray = counts[nearest] / N
    abstained = np.array([row["predict"] == "-1" for row in rows])
    shares[abstained] = np.linspace(0.2, 0.5, int(abstained.sum()) + 2)[1:-1]
    return shares


def _run(mode: Mode, law: Gaussian, p: FloatArray, seed: int, repeats: int = 1) -> _Runs:
    """Draws and asks are means over the repeats, radii those of the first."""
    rng = np.random.default_rng(seed)
    found = [[_estimate(mode, law, share, rng) for share in p.tolist()] for _ in range(repeats)]
    table = np.array(found, dtype=np.float64)
    return _Runs(table[0, :, 0], table[:, :, 1].mean(0), table[:, :, 2].mean(0))


def _estimate(mode: Mode, law: Gaussian, p: float, rng: np.random.Generator) -> tuple[float, int, int]:
    """Radius, draws and asks of one input, whose votes are class 0 with probability p, else class 1."""
    estimation, draws, asks = mode.estimate(law, ALPHA, 0), 0, 0
    ask = next(estimation)
    while True:
        hits = rng.binomial(ask.count, p)
        draws, asks = draws + ask.count, asks + 1
        try:
            ask = estimation.send(np.array([hits, ask.count - hits]))
        except StopIteration as stop:
            found: Estimate = stop.value
            return found.radius, draws, asks


def _wald(law: Gaussian, radius: float, p: FloatArray) -> FloatArray:
    """The least expected draws of a test with power 0.999; inf where the radius does not hold."""
    needed = needed_probability(law, radius)
    if needed is None:
        return np.full(len(p), np.inf)
    apart = np.where(p > needed, _kl(p, np.full(len(p), needed)), 0.0)
    with np.errstate(divide="ignore"):
        return _kl(np.array([1 - ALPHA]), np.array([ALPHA])) / apart


def _kl(p: FloatArray, q: FloatArray) -> FloatArray:
    from scipy.special import rel_entr

    found: FloatArray = rel_entr(p, q) + rel_entr(1 - p, 1 - q)
    return found


@dataclass(frozen=True, eq=False)
class _Case:
    """A table's inputs. p: probabilities of their classes, radius: what the reference certifies."""

    votes: str
    law: Gaussian
    p: FloatArray
    radius: FloatArray

    def row(self, mode: Mode, runs: _Runs) -> Row:
        """What a mode concluded, beside the reference."""
        certified, wanted = runs.radius > 0, self._wanted(mode, runs)
        some = wanted > 0
        row: dict[str, Cell] = dict.fromkeys(SHOWN)
        row |= {
            "votes": self.votes,
            "sigma": self.law.sigma,
            "mode": repr(mode),
            "mean draws": float(runs.draws.mean()),
            "x fewer": float(N / runs.draws.mean()),
            "certified": int(certified.sum()),
            "fixed certifies": int((wanted > 0).sum()),
            "lost": int((some & ~certified).sum()),
            "gained": int((certified & ~some).sum()),
            "radius lost": float(np.mean(1 - runs.radius[some] / wanted[some])) if some.any() else None,
            "asks": None if runs.asks is None else float(runs.asks.mean()),
        }
        if isinstance(mode, Decide):
            wald = _wald(self.law, mode.radius, self.p)
            clear = wald <= N / 4
            if clear.any():
                row["draws / Wald"] = float(runs.draws[clear].mean() / wald[clear].mean())
                row["of"] = int(clear.sum())
        return row

    def _wanted(self, mode: Mode, runs: _Runs) -> FloatArray:
        """What of the reference's radii the mode can give."""
        if isinstance(mode, Decide):
            return np.where(self.radius > mode.radius, max(runs.radius.max(), mode.radius), 0.0)
        if isinstance(mode, Grid):
            return np.array([max((r for r in mode.radii if r < got), default=0.0) for got in self.radius])
        return self.radius


SUITE = Suite("Draws of the modes of smoothing", NOTES, SHOWN, _suite_rows, ("votes", "sigma"))
