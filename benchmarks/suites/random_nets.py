"""Random small networks and thresholds next to the truth: every verdict beside exact rational enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

import bounds
from benchmarks import exactly
from benchmarks.options import Options, Suite
from benchmarks.table import Row, numbers, total
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU

SHOWN = ("level", "family", "networks", "questions", "verified", "falsified", "open", "wrong", "nearest")
NOTES = (
    "Chains of linear layers and ReLUs that go through a single number, so that the least output over a box "
    "can be enumerated in rationals. `cut inputs`: one input; `cut neurons`: 13. `plain`: weights of about "
    "1; `ill-scaled`: each layer's times 1e-4 to 1e8; `cancelling`: pairs of neurons that nearly cancel. "
    "Thresholds lie beside the least output, above and below, by 1e-16 to 1e-2 of its size or of the "
    "output's range. `wrong`: verified although the exact least value is not > 0; at level `deployed` also "
    "where a float32 execution in a random order is not. `nearest`: the smallest exact margin that was "
    "verified, relative to the least output. Level `float` shows that the questions tell levels apart; it "
    "claims nothing. `--batch`: networks per family.",
)
_PER_NETWORK = 8  # questions, each of a box of its own
_SECONDS = 0.4  # of one call: thresholds nearer than rounding cannot be decided in any time
_NETWORKS = 200


@dataclass(frozen=True)
class Family:
    """How networks are drawn."""

    name: str
    inputs: int
    ill_scaled: bool = False
    cancelling: bool = False


FAMILIES = tuple(
    Family(f"{where}, {how}", inputs, how == "ill-scaled", how == "cancelling")
    for where, inputs in (("cut inputs", 1), ("cut neurons", 13))
    for how in ("plain", "ill-scaled", "cancelling")
)


@dataclass(frozen=True, eq=False)
class Questions:
    """Boxes of one network, one row each, and the exact least value of each. sizes: of the least outputs."""

    graph: bounds.Graph
    region: bounds.Box
    spec: bounds.Spec
    least: Sequence[Fraction]
    sizes: Sequence[float]


@dataclass(frozen=True)
class Tally:
    """Counts of verdicts; wrong: those of "verified" that are not true. nearest: see the notes."""

    questions: int
    verified: int
    falsified: int
    wrong: int
    nearest: float


def network(family: Family, g: torch.Generator) -> bounds.Graph:
    """A chain of one to three hidden layers with float32 weights."""
    hidden = [
        int(torch.randint(3, 7, (), generator=g)) for _ in range(int(torch.randint(1, 4, (), generator=g)))
    ]
    builder = bounds.Builder((family.inputs,))
    here = builder.input
    widths = [family.inputs, *([1] if family.inputs > 1 else []), *hidden, 1]
    for fan_in, width in itertools.pairwise(widths):
        weight = torch.randn(width, fan_in, generator=g) * fan_in**-0.5 * 1.5
        bias = torch.randn(width, generator=g) * 0.3
        if family.ill_scaled:
            scale = 10 ** (12 * float(torch.rand((), generator=g)) - 4)
            weight, bias = weight * scale, bias * scale
        if family.cancelling and fan_in > 2:
            weight[:, 1] = -weight[:, 0] * (1 + 2.0**-20)
        here = builder.apply(Linear(), [here], (weight, bias))
        if width > 1:
            here = builder.apply(LeakyReLU(), [here])
    return builder.build(here)


def drawn(family: Family, seed: int) -> Questions:
    """A network and thresholds next to the truth."""
    g = torch.Generator().manual_seed(seed)
    graph = network(family, g)
    centre = torch.randn(_PER_NETWORK, family.inputs, generator=g, dtype=torch.float64)
    eps = 10 ** (-3 * torch.rand(_PER_NETWORK, 1, generator=g, dtype=torch.float64))
    region, sign = bounds.Box(centre - eps, centre + eps), _signs(g)
    off = _signs(g) * 10 ** (-2 - 14 * torch.rand(_PER_NETWORK, generator=g, dtype=torch.float64))
    truths, sizes, offsets = [], [], []
    for k in range(_PER_NETWORK):
        tail, low, high = exactly.funnelled(graph, region.lower[k].tolist(), region.upper[k].tolist())
        row = [Fraction(float(sign[k]))]
        least = exactly.least(tail, low, high, row, Fraction(0))
        most = -exactly.least(tail, low, high, [-row[0]], Fraction(0))
        size = abs(float(least)) if k % 2 else float(most - least)
        offsets.append(-float(least) + float(off[k]) * size)
        truths.append(least + Fraction(offsets[-1]))
        sizes.append(max(abs(float(least)), 1e-300))
    spec = bounds.Spec(sign.view(-1, 1, 1), torch.tensor(offsets, dtype=torch.float64)[:, None])
    return Questions(graph, region, spec, truths, sizes)


def _signs(g: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, (_PER_NETWORK,), generator=g).double() - 1


def tally(family: Family, seeds: Sequence[int], level: str) -> Tally:
    """All questions of some networks, asked at one level."""
    counts, wrong, nearest = dict.fromkeys(bounds.Status, 0), 0, float("inf")
    for seed in seeds:
        asked = drawn(family, seed)
        found = bounds.verify(asked.graph, asked.region, asked.spec, timeout=_SECONDS, level=level)
        executed = _executed(asked, seed) if level == "deployed" else [True] * len(found)
        for each, truth, size, fine in zip(found, asked.least, asked.sizes, executed, strict=True):
            counts[each.status] += 1
            if each.status is bounds.Status.VERIFIED:
                wrong += truth <= 0 or not fine
                nearest = min(nearest, float(truth) / size)
    asked_of = _PER_NETWORK * len(seeds)
    return Tally(asked_of, counts[bounds.Status.VERIFIED], counts[bounds.Status.FALSIFIED], wrong, nearest)


def _executed(asked: Questions, seed: int) -> list[bool]:
    """Whether random float32 executions, sums in random orders, leave every row > 0."""
    g = torch.Generator().manual_seed(seed)
    box, outcome = asked.region, torch.ones(_PER_NETWORK, dtype=torch.bool)
    for _ in range(8):
        share = torch.rand(box.lower.shape, generator=g, dtype=torch.float64).round(decimals=1)
        x = (box.lower + share * (box.upper - box.lower)).float()
        inside = (x.double() >= box.lower).all(1) & (x.double() <= box.upper).all(1)
        y = _shuffled(asked.graph, x, g).double()
        outcome &= ~inside | (asked.spec.evaluate(y)[:, 0] > 0)
    return outcome.tolist()


def _shuffled(graph: bounds.Graph, x: Tensor, g: torch.Generator) -> Tensor:
    for node in graph.nodes[1:]:
        if not isinstance(node.op, Linear):
            x = x.relu()
            continue
        weight, bias = node.params
        terms = torch.cat([x[:, None] * weight, bias[None, :, None].expand(len(x), -1, 1)], 2)
        total_ = torch.zeros_like(terms[:, :, 0])
        for place in torch.randperm(terms.shape[2], generator=g).tolist():
            total_ = total_ + terms[:, :, place]
        x = total_
    return x


def _rows(options: Options) -> Iterator[Row]:
    names = options.pick(tuple(each.name for each in FAMILIES), options.nets, "family")
    networks = options.batches[0] if options.batches else _NETWORKS
    torch.set_num_threads(options.threads)
    for level in options.pick(("real", "deployed", "float"), options.methods, "level"):
        for family in FAMILIES:
            if family.name in names:
                yield _row(family, level, networks)


def _row(family: Family, level: str, networks: int) -> Row:
    found = tally(family, range(networks), level)
    return {
        "level": level,
        "family": family.name,
        "networks": networks,
        "questions": found.questions,
        "verified": found.verified,
        "falsified": found.falsified,
        "open": found.questions - found.verified - found.falsified,
        "wrong": found.wrong,
        "nearest": found.nearest if found.verified else None,
    }


def _summary(rows: Sequence[Row]) -> str:
    nearest = min(numbers(rows, "nearest"), default=float("nan"))
    return (
        f"{total(rows, 'questions')} questions, {total(rows, 'verified')} verified, of which "
        f"{total(rows, 'wrong')} wrong; the nearest at a relative margin of {nearest:.2g}."
    )


SUITE = Suite("Verdicts beside exact enumeration", NOTES, SHOWN, _rows, ("level",), _summary)
