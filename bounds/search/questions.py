"""Specifications taken apart into questions that domains are cut for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bounds.spec import Spec


def questions(spec: Spec, left: Tensor, lower: Tensor, apart: bool) -> tuple[Spec, Tensor]:
    """What is still open: a specification per question, and the place in ``left`` of each one's sample.

    left: (left,) samples; lower: (samples, rows) bounds so far. apart: a question for each open clause, so
    that each has cuts of its own; else one per sample with all of its open clauses.
    """
    rows, clauses, of = [], [], []
    open_rows = spec.undecided(lower)
    batch = len(lower)
    matrix, offset = spec.matrix.expand(batch, -1, -1), spec.offset.expand(batch, -1)
    for place, sample in enumerate(left.tolist()):
        asked = open_rows[sample].nonzero()[:, 0]
        clause = asked if spec.clause is None else spec.clause.expand(batch, -1)[sample, asked]
        numbers = torch.unique(clause).tolist()
        for group in [[number] for number in numbers] if apart else [numbers]:
            mine = [asked[clause == number] for number in group]
            rows.append((sample, torch.cat(mine)))
            clauses.append(torch.cat([torch.full_like(r, k) for k, r in enumerate(mine)]))
            of.append(place)
    return _padded(matrix, offset, rows, clauses), torch.tensor(of, device=left.device)


def _padded(
    matrix: Tensor, offset: Tensor, rows: Sequence[tuple[int, Tensor]], clauses: Sequence[Tensor]
) -> Spec:
    """Questions with the same number of rows: a short one repeats its first row, which changes nothing."""
    most = max(len(r) for _, r in rows)
    places = [torch.cat([torch.arange(len(r)), torch.zeros(most - len(r)).long()]) for _, r in rows]
    return Spec(
        torch.stack([matrix[s, r[p]] for (s, r), p in zip(rows, places, strict=True)]),
        torch.stack([offset[s, r[p]] for (s, r), p in zip(rows, places, strict=True)]),
        torch.stack([c[p] for c, p in zip(clauses, places, strict=True)]),
    )
