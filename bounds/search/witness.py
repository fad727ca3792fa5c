"""What counts as a counterexample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.sets import Box, InputSet
from bounds.spec import Spec

_STEPS, _RATE = 25, 0.15  # of gradients, and the first step's length as a share of the region's width


@dataclass(frozen=True, eq=False)
class Judge:
    """The network as it was given, run in its own dtype: a point of the region where the specification fails
    (a tie fails, too) is a counterexample.

    Where an input is pinned to a number that the dtype does not have, the nearest one stands for it.
    inner: the numbers of the dtype within the region's box.
    """

    graph: Graph
    region: InputSet
    spec: Spec
    inner: Box

    @classmethod
    def of(cls, graph: Graph, region: InputSet, spec: Spec) -> Judge:
        """The judge over samples of a region."""
        dtypes = [p.dtype for node in graph.nodes for p in node.params if p.is_floating_point()]
        box = region.box()
        dtype = dtypes[0] if dtypes else box.lower.dtype
        return cls(graph.to(dtype), region, spec.to(torch.float64), _within(Box(box.lower, box.upper), dtype))

    def confirmed(self, points: Tensor, sample: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
        """The values at the points, as ``judged`` gives them, and samples with a counterexample among these,
        each run alone, as whoever checks it will."""
        snapped, values = self.judged(points, sample)
        found: dict[int, Tensor] = {}
        for place in (values <= 0).nonzero()[:, 0].tolist():
            one = torch.tensor([place], device=values.device)
            if int(sample[place]) not in found and float(self.judged(snapped[one], sample[one])[1]) <= 0:
                with torch.inference_mode(False):  # whoever gets it may differentiate through it
                    found[int(sample[place])] = snapped[place].clone()
        return values, list(found.items())

    def judged(self, points: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """The points as the network gets them, (points, *shape), and the deciding value at each, (points,):
        counterexamples have at most 0.

        sample: (points,) whose region each is meant for. Points outside of it and outputs that are NaN or
        infinite say nothing: inf.
        """
        snapped = self._inward(self.inner[sample].project(points.to(self.inner.lower.dtype)), sample)
        outputs = self.graph(snapped).flatten(1).double()
        values = self.spec[sample].worst(self.spec[sample].evaluate(outputs))
        inside = self.inner if isinstance(self.region, Box) else self.region
        counts = outputs.isfinite().all(1) & inside[sample].contains(snapped)
        return snapped, values.masked_fill(~counts, torch.inf)

    def _inward(self, points: Tensor, sample: Tensor) -> Tensor:
        """Points that rounding has put just outside of a set, a little nearer to its middle."""
        if isinstance(self.region, Box) or not self.region.is_convex:
            return points
        region = self.region[sample]
        outside = ~region.contains(points).view(-1, *[1] * (points.dim() - 1))
        centre = region.box().centre.to(points)
        share = 1 - 64 * torch.finfo(points.dtype).eps
        return torch.where(outside, centre + share * (points - centre), points)


def descended(judge: Judge, samples: Tensor, starts: Tensor | None) -> Tensor:
    """Points near starts, or near the middle of the sets, after signed gradient steps; (batch, *shape).

    Each is the best that was seen on its way. An attack worth the name does more; this one finds what lies
    close to a bound's minimiser.
    """
    inner, spec = judge.inner[samples], judge.spec[samples]
    width = inner.upper - inner.lower
    x = inner.project(inner.box().centre if starts is None else starts.to(width))
    best, least = x, torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    for step in range(_STEPS):
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            value = spec.worst(spec.evaluate(judge.graph(leaf).flatten(1).double()))
        better = value.detach() < least
        least = torch.where(better, value.detach(), least)
        best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), x, best)
        if not value.requires_grad:
            break
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        slope = slope.nan_to_num(0, 0, 0)
        if judge.region.is_box:
            x = inner.project(x - slope.sign() * width * _RATE * (1 - step / _STEPS))
        else:  # towards the best point for a linear function (Frank & Wolfe 1956)
            x = x + 2 / (step + 2) * (judge.region[samples].argmax(-slope.to(x)).to(x) - x)
    return best


def _within(box: Box, dtype: torch.dtype) -> Box:
    """The numbers of a dtype in each box; where a side holds none, the one nearest to it."""
    lower, upper = box.lower.to(dtype), box.upper.to(dtype)
    above = torch.nextafter(lower, torch.full_like(lower, torch.inf))
    below = torch.nextafter(upper, torch.full_like(upper, -torch.inf))
    least = torch.where(lower.double() < box.lower.double(), above, lower)
    most = torch.where(upper.double() > box.upper.double(), below, upper)
    nowhere, nearest = least > most, box.box().centre.to(dtype)
    return Box(torch.where(nowhere, nearest, least), torch.where(nowhere, nearest, most))
