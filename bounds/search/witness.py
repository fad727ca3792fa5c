"""What counts as a counterexample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.sets import Box, InputSet
from bounds.spec import Spec


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

    def judged(self, points: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """The points as the network gets them, (points, *shape), and which of them are counterexamples.

        sample: (points,) whose region each is meant for. Outputs that are NaN or infinite break nothing.
        """
        snapped = self.inner[sample].project(points.to(self.inner.lower.dtype))
        outputs = self.graph(snapped).flatten(1).double()
        fails = self.spec[sample].worst(self.spec[sample].evaluate(outputs)) <= 0
        inside = self.inner if isinstance(self.region, Box) else self.region
        return snapped, fails & outputs.isfinite().all(1) & inside[sample].contains(snapped)


def _within(box: Box, dtype: torch.dtype) -> Box:
    """The numbers of a dtype in each box; where a side holds none, the one nearest to it."""
    lower, upper = box.lower.to(dtype), box.upper.to(dtype)
    above = torch.nextafter(lower, torch.full_like(lower, torch.inf))
    below = torch.nextafter(upper, torch.full_like(upper, -torch.inf))
    least = torch.where(lower.double() < box.lower.double(), above, lower)
    most = torch.where(upper.double() > box.upper.double(), below, upper)
    nowhere, nearest = least > most, box.box().centre.to(dtype)
    return Box(torch.where(nowhere, nearest, least), torch.where(nowhere, nearest, most))
