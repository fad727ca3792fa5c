"""One question in the form that all propagation works on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.propagate.forms import Forms, Layout
from bounds.propagate.rows import dense_width
from bounds.rounding import Level
from bounds.sets import InputSet
from bounds.spec import Spec

_CACHED = 2**26


class OutOfTime(Exception):
    """The time that a problem was given is over."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A graph over a region, both in the dtype to compute in; the level to claim; bytes for one chunk.

    end: when to give up, on the clock ``time.monotonic``. step_dtype: in which gradient steps towards proofs
    are taken; float32 is enough where only the sign of a bound counts, and what they lead to is proved. Rows
    that prove on which side of zero neurons are may be float32 then, too (see ``Narrow``).
    """

    graph: Graph
    region: InputSet
    level: Level
    memory: int
    end: float = math.inf
    step_dtype: torch.dtype = torch.float64

    def check_time(self) -> None:
        """Raises ``OutOfTime`` after the end; to be called between steps that take a while."""
        if time.monotonic() >= self.end:
            raise OutOfTime

    @property
    def rounded(self) -> bool:
        """Whether rounding is accounted for."""
        return self.level is not Level.FLOAT

    def until(self, index: int) -> Problem:
        """The same question about an earlier node."""
        return replace(self, graph=Graph(self.graph.nodes[: index + 1], index))

    @cached_property
    def quick(self) -> Problem:
        """The same without account of rounding, for what proves nothing: in float32 where there was one."""
        if not self.rounded:
            return self
        graph, region = self.graph.to(torch.float32), self.region.to(torch.float32)
        return replace(self, graph=graph, region=region, level=Level.FLOAT)

    def __getitem__(self, samples: Tensor) -> Problem:
        """The same question for some samples."""
        return replace(self, region=self.region[samples])

    def forms(self, layout: Layout, constant: Tensor) -> Forms:
        """Rows that have not moved yet."""
        slack = torch.full_like(constant, 2.0**-900) if self.rounded else None
        return Forms(layout, constant, slack)

    def asked(self, spec: Spec) -> Iterator[tuple[Tensor, Forms]]:
        """The rows of a specification over the output, (rows, *output_shape), in chunks that fit."""
        batch, count = len(self.region), spec.matrix.shape[1]
        matrix, offset = spec.matrix.expand(batch, -1, -1), spec.offset.expand(batch, -1)
        size = max(1, self.rows_at_once(self.graph.output) // count)
        for samples in torch.split(torch.arange(batch, device=matrix.device), size):
            rows = matrix[samples].reshape(-1, *self.graph.output_shape)
            self.check_time()
            yield rows, self.forms(Layout(samples, count), offset[samples].flatten())

    def rows_at_once(self, start: int, width: int | None = None) -> int:
        """How many rows from ``start`` fit into the memory budget.

        width: how many coefficients a row has on its way at most, where that is known. A step holds about
        six copies of dense ones; of windows about ten, for lines are cut out for them.
        """
        size = 6 * dense_width(self.graph, start)
        if width is not None:
            size = min(size, 10 * width)
        return max(1, self.chunk // (size * self.region.box().lower.element_size()))

    @property
    def chunk(self) -> int:
        """Bytes that one chunk of rows is to take: more is slower on a processor, out of its caches."""
        return min(self.memory, _CACHED) if self.region.box().lower.device.type == "cpu" else self.memory
