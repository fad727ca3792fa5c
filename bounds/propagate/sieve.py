"""Rows that have come to what is asked of them leave the others on their way.

Which rows these are, and their bounds, depends on nothing but the rows themselves: not on those beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bounds.linear import Coefficients, Patch, Unit, at
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Forms, Layout, over_interval

_WORTH = 512  # coefficients of a row from which on a look at it is cheap beside its way on
_SHARE = 0.75  # of the rows; where more are left, all go on


class Sieve:
    """Lower bounds of rows of which nothing is asked but to be above what is ``enough`` for each.

    widest: how many coefficients a row had at most so far.
    """

    def __init__(self, enough: Tensor) -> None:
        """enough: (rows,), in the dtype of the bounds."""
        self._enough = enough
        self._best = torch.full_like(enough, -torch.inf)
        self._places = torch.arange(len(enough), device=enough.device)
        self._first = True
        self.widest = 1

    def note(self, lower: Tensor) -> Tensor:
        """The best bounds of all rows so far, given new ones of those on their way; (rows,).

        What was enough already stays as it is, whether or not its row went on with others.
        """
        before = self._best[self._places]
        new = torch.where(before > self._enough[self._places], before, torch.maximum(before, lower))
        self._best = self._best.index_put((self._places,), new)
        return self._best

    def measured(self, pending: dict[int, Coefficients], layout: Layout) -> int:
        """How many coefficients a row over some nodes has, which counts for ``widest``."""
        size = sum(map(_size, pending.values())) // len(layout.rows)
        self.widest = max(self.widest, size)
        return size

    def sifted(
        self, pending: dict[int, Coefficients], forms: Forms, facts: Sequence[Facts], at_function: bool
    ) -> tuple[dict[int, Coefficients], Forms]:
        """Rows over some nodes, without most of those whose bounds over the nodes' intervals are enough.

        So many stay that each sample has as many as the others. at_function: whether they have come to a
        pointwise function; elsewhere they are measured and all go on.
        """
        layout, rounded = forms.layout, forms.slack is not None
        size = self.measured(pending, layout)
        if not at_function:
            return pending, forms
        # The first interval is what that of the rows' own node was made of.
        first, self._first = self._first, False
        if first or size < _WORTH:
            return pending, forms
        ends = [over_interval(layout, a, facts[i].interval, rounded) for i, a in pending.items()]
        done = (self.note(forms.lower(ends)) > self._enough)[self._places].view(-1, layout.per_sample)
        going = ~done.all(1)
        going[0] |= not bool(going.any())
        most = max(1, int((~done).sum(1).max()))
        if most * int(going.sum()) > _SHARE * done.numel():
            return pending, forms
        begin = torch.arange(len(done), device=done.device)[going, None] * layout.per_sample
        left = (begin + done[going].to(torch.uint8).argsort(dim=1, stable=True)[:, :most]).flatten()
        self._places = self._places[left]
        slack = None if forms.slack is None else forms.slack[left]
        there = Forms(Layout(layout.samples[going], most), forms.constant[left], slack)
        return {i: at(left, a) for i, a in pending.items()}, there


def _size(a: Coefficients) -> int:
    """How many coefficients are stored."""
    return len(a) if isinstance(a, Unit) else (a.data if isinstance(a, Patch) else a).numel()
