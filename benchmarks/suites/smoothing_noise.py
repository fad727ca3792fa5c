"""What noise costs per number, in floats and exactly, beside torch.randn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.options import Options, Suite
from benchmarks.table import Cell, Row, largest
from certify.noise import Draws
from certify.smoothing import DiscreteGaussian, Gaussian

SHAPES = {"3x32x32": (3, 32, 32), "3x224x224": (3, 224, 224)}
BATCHES = (512,)
_NUMBERS = 1 << 21  # of one call at most: the batch of a larger image is cut
_BASE = "torch.randn"
SHOWN = ("shape", "batch", "noise", "ns per number", "ratio", "runs")
NOTES = (
    "Noise of one batch on the CPU, in float32. `torch.randn` makes standard normal numbers, from one "
    "generator in whatever order it is asked. All others are functions of (seed, sample, number of the "
    "draw): `words` are 64 fair bits from Philox, `Draws.normal` standard normal numbers. `perturb` gives "
    "noisy images ready for the network: `Gaussian` rounded floats, `DiscreteGaussian` exact 8-bit "
    "images, of one word per number.",
    "ns are medians over the runs after one warm-up; `ratio` is the median over rounds, in each of which all "
    "ran in turn, of the time over that of `torch.randn`.",
)


def _suite_rows(options: Options) -> Iterator[Row]:
    torch.set_num_threads(options.threads)
    for name in options.pick(tuple(SHAPES), options.nets, "shape"):
        for batch in options.batches or BATCHES:
            yield from _rows(name, batch, options)


def _rows(name: str, batch: int, options: Options) -> list[Row]:
    shape = SHAPES[name]
    x = (torch.arange(torch.Size(shape).numel()) % 256).float().view(shape) / 255
    count = max(1, min(batch, _NUMBERS // x.numel()))
    sides = _sides(x, count)
    chosen = (
        _BASE,
        *(each for each in options.pick(tuple(sides), options.methods, "noise") if each != _BASE),
    )
    warm = sum(_seconds(sides[each]) for each in chosen)
    rounds = [{each: _seconds(sides[each]) for each in chosen} for _ in range(options.repeats.of(warm))]
    return [_row(name, count, each, count * x.numel(), rounds) for each in chosen]


def _sides(x: Tensor, count: int) -> dict[str, Callable[[], Tensor]]:
    """What is timed, by name; each call makes ``count`` times as many numbers as ``x`` has."""
    draws = Draws(b"benchmark", 0, count, torch.device("cpu"), torch.float32)
    shape = tuple(x.shape)
    generator = torch.Generator().manual_seed(0)
    sides: dict[str, Callable[[], Tensor]] = {
        _BASE: lambda: torch.randn(count, *shape, generator=generator),
        "words": lambda: draws.words(x.numel()),
        "Draws.normal": lambda: draws.normal(shape),
    }
    laws = [law(sigma) for law in (Gaussian, DiscreteGaussian) for sigma in (0.12, 0.25, 0.5, 1.0)]
    sides |= {f"{type(law).__name__}({law.sigma}).perturb": _perturbing(law, x, draws) for law in laws}
    return sides


def _perturbing(law: Gaussian | DiscreteGaussian, x: Tensor, draws: Draws) -> Callable[[], Tensor]:
    return lambda: law.perturb(x, draws)


def _seconds(call: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _row(name: str, count: int, side: str, numbers: int, rounds: Sequence[dict[str, float]]) -> Row:
    cells: dict[str, Cell] = {"shape": name, "batch": count, "noise": side}
    cells["ns per number"] = statistics.median(each[side] for each in rounds) / numbers * 1e9
    cells["ratio"] = statistics.median(each[side] / each[_BASE] for each in rounds)
    cells["runs"] = len(rounds)
    return cells


def _summary(rows: Sequence[Row]) -> str:
    exact = [row for row in rows if str(row["noise"]).startswith("DiscreteGaussian")]
    return f"Summary: exact noise costs at most {largest(exact, 'ratio', 'noise')} times torch.randn."


SUITE = Suite("Noise", NOTES, SHOWN, _suite_rows, ("shape", "batch"), _summary)
