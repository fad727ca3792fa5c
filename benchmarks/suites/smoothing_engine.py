"""What sampling costs beside the forward passes that it consists of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from benchmarks.baselines.resnet import resnet20
from benchmarks.options import Options, Suite
from benchmarks.table import Cell, Row
from certify.run import Run
from certify.smoothing import Gaussian
from certify.smoothing.engine import Engine, Procedure
from certify.smoothing.intervals import IntArray
from certify.smoothing.modes import Ask
from certify.smoothing.votes import InMemory

BATCHES = (100,)
_SAMPLES = 4
_BASE = "forward"
SHOWN = ("net", "batch", "side", "predictions", "us per prediction", "throughput", "runs")
NOTES = (
    "`forward`: a loop of forward passes of one batch that is there already, float32. `engine`: the same "
    "number of predictions of the smoothing engine, four inputs in turn, noise, counting and procedures "
    "included. `adaptive`: the engine with 40 inputs that ask for 25 draws at a time. `loop`: the plain loop "
    "of Cohen et al. (2019): repeat, torch.randn, forward, and counts on the host after every batch.",
    "Net `none` returns two pixels: what is left is the engine itself, noise included.",
    "All sides run in turn, round after round; of each the least processor time counts, as other work on the "
    "machine only adds to it. `throughput` is the time of `forward` over that of the side (1: as fast).",
)


class _TwoPixels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]


SHAPE = (3, 32, 32)
NETS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {  # its classes and predictions of a round
    "resnet20": (resnet20, 10, 400),
    "none": (_TwoPixels, 2, 20_000),
}


def _suite_rows(options: Options) -> Iterator[Row]:
    torch.set_num_threads(options.threads)
    for name in options.pick(tuple(NETS), options.nets, "net"):
        for batch in options.batches or BATCHES:
            yield from _rows(name, batch, options)


def _rows(name: str, batch: int, options: Options) -> list[Row]:
    make, classes, predictions = NETS[name]
    sides = _sides(make(), classes, batch, max(predictions, _SAMPLES * batch))
    warm = sum(_seconds(side) for side in sides.values())
    rounds = [{each: _seconds(side) for each, side in sides.items()} for _ in range(options.repeats.of(warm))]
    return [_row(name, batch, each, max(predictions, _SAMPLES * batch), rounds) for each in sides]


def _sides(net: nn.Module, classes: int, batch: int, predictions: int) -> dict[str, Callable[[], None]]:
    images = torch.linspace(0, 1, 40 * prod(SHAPE)).view(40, *SHAPE)
    law, held = Gaussian(0.25), torch.randn(batch, *SHAPE)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(predictions // batch):
                net(held)

    def engine(samples: int, step: int) -> None:
        runner = Engine(net, law, batch, Run(), InMemory())
        asking = [_asking(predictions // samples, step) for _ in range(samples)]
        runner.outcomes(images[:samples], range(samples), classes, asking)

    def loop() -> None:
        with torch.no_grad():
            for x in images[:_SAMPLES]:
                for _ in range(predictions // _SAMPLES // batch):
                    rows = x.repeat(batch, *[1] * len(SHAPE))
                    net(rows + torch.randn_like(rows) * law.sigma).argmax(1).numpy()

    return {
        _BASE: forward,
        "engine": lambda: engine(_SAMPLES, predictions),
        "adaptive": lambda: engine(40, 25),
        "loop": loop,
    }


def _asking(draws: int, step: int) -> Procedure[IntArray | None]:
    votes = None
    for first in range(0, draws, step):
        votes = yield Ask("a", min(step, draws - first))
    return votes


def _seconds(call: Callable[[], None]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _row(name: str, batch: int, side: str, predictions: int, rounds: Sequence[dict[str, float]]) -> Row:
    cells: dict[str, Cell] = {"net": name, "batch": batch, "side": side, "predictions": predictions}
    least = {name: min(each[name] for each in rounds) for name in (_BASE, side)}
    cells["us per prediction"] = least[side] / predictions * 1e6
    cells["throughput"] = least[_BASE] / least[side]
    cells["runs"] = len(rounds)
    return cells


def _summary(rows: Sequence[Row]) -> str:
    found = [row for row in rows if row["side"] == "engine" and row["net"] != "none"]
    ratios = ", ".join(f"{row['net']} {float(str(row['throughput'])):.3f}" for row in found)
    return f"Summary: throughput of the engine over that of bare forward passes: {ratios}."


SUITE = Suite("Smoothing engine", NOTES, SHOWN, _suite_rows, ("net", "batch"), _summary)
