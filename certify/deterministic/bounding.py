"""Certifiers by bound propagation: search in ``run.dtype``, decide again where it is sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import bounds
from bounds.rounding import Level
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.query import Query
from certify.run import Run


@dataclass(frozen=True)
class _Margin:
    """A lower bound of one sample's smallest margin, the level it holds at, and the method that gave it."""

    value: float
    level: Level
    method: str


@dataclass(frozen=True)
class Bounding:
    """Base of certifiers that ask ``bounds.bound`` for the margins, cheap methods first.

    level: what a margin > 0 claims. At ``REAL`` and ``DEPLOYED`` the search runs in ``run.dtype``, and what
    it finds positive is computed again in float64 with every rounding error accounted for. ``FLOAT`` skips
    that and proves nothing. A sample that no method settles reports its last margin with its own level.
    """

    level: Level = Level.REAL

    methods: ClassVar[Sequence[str]] = ()

    @property
    def claims(self) -> frozenset[Claim]:
        """Bounds prove robustness; a negative one says nothing."""
        return frozenset({Claim.ROBUST})

    def supports(self, query: Query) -> str | None:
        """None if the model has a graph whose every operator can be bounded, else the reason."""
        return supports(query)

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """Lower bounds of each sample's smallest margin; a sample leaves as soon as one is positive.

        Raises ``UsageError`` for a model without a graph, ``bounds.BoundsError`` where bounding fails.
        """
        if query.model.graph is None:
            raise UsageError(self.supports(query) or "no graph")
        # each method is at least as tight as the one before, so the last margin is the best
        last: list[_Margin | None] = [None] * len(query.samples)
        for method in self.methods:
            places = [i for i, margin in enumerate(last) if margin is None or not margin.value > 0]
            if not places:
                break
            part = query[_mask(places, query)]
            for i, found in zip(places, self._margins(query.model.graph, part, method, run), strict=True):
                last[i] = found
        return [self._evidence(s, margin) for s, margin in zip(query.samples, last, strict=True)]

    def _margins(self, graph: bounds.Graph, query: Query, method: str, run: Run) -> list[_Margin]:
        """One method's margins, every positive one at ``self.level``."""
        sound = self.level is not Level.FLOAT
        if sound and run.dtype is torch.float64:
            values = _lower_margins(graph, query, method, self.level, run)
            return [_Margin(v, self.level, method) for v in values]
        values = _lower_margins(graph, query, method, Level.FLOAT, run)
        margins = [_Margin(v, Level.FLOAT, method) for v in values]
        likely = [i for i, v in enumerate(values) if v > 0]
        if sound and likely:
            part = query[_mask(likely, query)]
            proved = _lower_margins(graph, part, method, self.level, run)
            for i, value in zip(likely, proved, strict=True):
                margins[i] = _Margin(value, self.level, method)
        return margins

    def _evidence(self, sample: int, margin: _Margin | None) -> Evidence:
        if margin is None:
            return Evidence(sample, repr(self))
        return Evidence(sample, repr(self), margin.value, margin.level, detail={"method": margin.method})


@dataclass(frozen=True)
class IBP(Bounding):
    """Interval bound propagation with the margins folded into the last layer (Gowal et al. 2018)."""

    methods: ClassVar[Sequence[str]] = ("ibp",)


@dataclass(frozen=True)
class CROWN(Bounding):
    """Backward linear bounds (Zhang et al. 2018), after IBP and CROWN-IBP (Zhang et al. 2020) have settled
    what they can.
    """

    methods: ClassVar[Sequence[str]] = ("ibp", "crown-ibp", "crown")


def supports(query: Query) -> str | None:
    """None if the query's model has a graph whose every operator can be bounded, else the reason."""
    graph = query.model.graph
    if graph is None:
        return f"{query.model.name} has no graph to bound; load it from ONNX or a module that can be traced"
    first = torch.arange(len(query.x), device=query.x.device) == 0
    try:
        _lower_margins(graph, query[first], "ibp", Level.FLOAT, Run())
    except bounds.BoundsError as error:
        return str(error)
    return None


def _lower_margins(graph: bounds.Graph, query: Query, method: str, level: Level, run: Run) -> list[float]:
    dtype = run.dtype if level is Level.FLOAT else torch.float64
    with torch.no_grad():
        spec = query.spec
        found = bounds.bound(graph, query.region, spec, method, dtype, level, run.memory)
        values: list[float] = spec.worst(found.lower).tolist()
    return values


def _mask(places: Sequence[int], query: Query) -> Tensor:
    mask = torch.zeros(len(query.samples), dtype=torch.bool, device=query.x.device)
    mask[list(places)] = True
    return mask
