"""What a black-box attacker sees of a model: answers to its queries, counted, and no more than allowed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

import bounds
from certify.attacks.base import Forward, Problem
from certify.attacks.minimal import Nearby
from certify.attacks.norms import wide
from certify.attacks.tally import Tally
from certify.run import Run

_PASSES = 32  # an input and its activations take about so many times the input's memory


class Record(Protocol):
    """Keeps the best of what is seen; a sample out of budget leaves with that."""

    def note(self, index: Tensor, points: Tensor, values: Tensor, given: Tensor) -> None:
        """Take over what is better for the samples ``index``.

        points: (n, k, *shape). values: (n, k, clauses), true where ``given``, (n, k) booleans.
        """

    def settled(self, index: Tensor) -> Tensor:
        """Which of the samples ``index`` need no further query; booleans."""


@dataclass(frozen=True, eq=False)
class Oracle:
    """The network behind the answers. Each sample is given at most ``budget`` of them, whoever asks.

    forward: (batch, *shape) -> (batch, outputs). The tally's forwards are the queries answered so far; there
    is no other count.
    """

    forward: Forward
    budget: int
    run: Run
    tally: Tally

    def left(self, samples: tuple[int, ...]) -> list[int]:
        """The answers that each sample may still get."""
        return [self.budget - self.tally.forwards[sample] for sample in samples]

    def outputs(self, points: Tensor, samples: tuple[int, ...], wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The network's outputs and where there are any: (answers, outputs) and (n, k) booleans.

        points: (n, k, *shape). wanted: (n, k) booleans, asked in this order until the budget is spent.
        """
        left = dict(zip(samples, self.left(samples), strict=True))
        given, payers = torch.zeros(wanted.shape, dtype=torch.bool), []
        for i, j in wanted.nonzero().tolist():
            if left[samples[i]] > 0:
                left[samples[i]] -= 1
                given[i, j] = True
                payers.append(samples[i])
        given = given.to(points.device)
        asked = points[given]
        rows = max(1, self.run.memory // (_PASSES * max(1, asked[:1].nbytes)))
        with torch.no_grad():
            outputs = [self.forward(part).flatten(1) for part in torch.split(asked, rows)] if payers else []
        self.tally.looked(tuple(payers))
        return (torch.cat(outputs) if outputs else points.new_zeros(0, 1)), given


@dataclass(frozen=True, eq=False)
class View:
    """A batch of searches, as far as the attacker knows them.

    start: (batch, *shape), the inputs. region: where to search. samples: their ids. What is asked through a
    view is recorded; the network, the specification and the outputs stay behind it.
    """

    start: Tensor
    region: bounds.InputSet
    samples: tuple[int, ...]
    _spec: bounds.Spec
    _oracle: Oracle
    _record: Record
    _index: Tensor
    _generators: dict[int, torch.Generator]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def over(self) -> Tensor:
        """Where nothing is left to ask: the budget is spent, or the aim is reached; (batch,) booleans."""
        return (self.queries >= self._oracle.budget) | self._record.settled(self._index)

    @property
    def queries(self) -> Tensor:
        """How many queries have been answered, (batch,) integers."""
        return self._oracle.budget - torch.tensor(self._oracle.left(self.samples), device=self.start.device)

    def normal(self, k: int) -> Tensor:
        """The next standard normal noise of each sample's own generator; (batch, k, *shape)."""
        return self._drawn(torch.randn, k)

    def uniform(self, k: int) -> Tensor:
        """The next uniform noise in [0, 1) of each sample's own generator; (batch, k, *shape)."""
        return self._drawn(torch.rand, k)

    def _drawn(self, draw: _Draw, k: int) -> Tensor:
        shape, dtype, device = (k, *self.start.shape[1:]), wide(self.start).dtype, self.start.device
        own = [self._generators[sample] for sample in self.samples]
        return torch.stack([draw(shape, generator=g, dtype=dtype, device=device) for g in own])

    def _values(self, points: Tensor, wanted: Tensor | None) -> tuple[Tensor, Tensor]:
        """The clause values (n, k, clauses), and where there are any; elsewhere +inf."""
        n, k = points.shape[:2]
        if wanted is None:
            wanted = torch.ones(n, k, dtype=torch.bool, device=points.device)
        outputs, given = self._oracle.outputs(points, self.samples, wanted)
        owner = given.nonzero()[:, 0]
        spec = self._spec[owner]
        values = spec.clauses(spec.evaluate(outputs)) if len(owner) else outputs
        full = values.new_full((n, k, values.shape[1]), torch.inf)
        full[given] = values
        self._record.note(self._index, points, full, given)
        return full, given

    def __getitem__(self, keep: Tensor) -> Self:
        """The searches of some samples; ``keep`` holds booleans or indices."""
        index = torch.arange(len(self), device=keep.device)[keep]
        return replace(
            self,
            start=self.start[index],
            region=self.region[index],
            samples=tuple(self.samples[i] for i in index.tolist()),
            _spec=self._spec[index],
            _index=self._index[index],
        )


class _Draw(Protocol):
    def __call__(
        self, size: tuple[int, ...], *, generator: torch.Generator, dtype: torch.dtype, device: torch.device
    ) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Scores(View):
    """The view of an attacker who is told the scores: the values of the specification's clauses."""

    def values(self, points: Tensor) -> Tensor:
        """Ask at points of the region, (batch, k, *shape): (batch, k, clauses), +inf where not answered."""
        return self._values(points, None)[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Decisions(View):
    """The view of an attacker who is told decisions alone.

    region: the valid range, a box. norm, bounded: see ``Nearby``.
    """

    norm: float
    bounded: bool

    def valid(self, points: Tensor) -> Tensor:
        """The nearest valid points in the network's own dtype; (batch, k, *shape)."""
        box = self.region.box()
        return points.to(self.start.dtype).clamp(box.lower[:, None], box.upper[:, None])

    def broken(self, points: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Whether the specification fails at some points, moved into the valid range; False where not asked.

        points: (batch, k, *shape). wanted, result: (batch, k) booleans.
        """
        values, given = self._values(self.valid(points), wanted)
        return deciding(values, given) <= 0


def deciding(values: Tensor, given: Tensor) -> Tensor:
    """The smallest clause value, (n, k); +inf where a value is not a finite number or not given."""
    return values.min(dim=2).values.masked_fill(~(given & values.isfinite().all(2)), torch.inf)


def scores_of(problem: Problem, budget: int, record: Record) -> Scores:
    """The scores of a problem for an attacker with so many queries per sample."""
    return Scores(*_parts(problem, budget, record))


def decisions_of(problem: Nearby, budget: int, record: Record) -> Decisions:
    """The decisions of a problem for an attacker with so many queries per sample."""
    return Decisions(*_parts(problem, budget, record), norm=problem.norm, bounded=problem.bounded)


def _parts(
    problem: Problem, budget: int, record: Record
) -> tuple[
    Tensor,
    bounds.InputSet,
    tuple[int, ...],
    bounds.Spec,
    Oracle,
    Record,
    Tensor,
    dict[int, torch.Generator],
]:
    run = problem.run
    generators = {s: run.generator(problem.key, s, "queries") for s in problem.samples}
    oracle = Oracle(problem.forward, budget, run, problem.tally)
    index = torch.arange(len(problem.start), device=problem.start.device)
    return problem.start, problem.region, problem.samples, problem.spec, oracle, record, index, generators
