"""What is asked of the outputs: linear constraints in conjunctive normal form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Spec:
    """The rows ``matrix @ y + offset``; the property holds where every clause has a row that is > 0.

    matrix: (batch, rows, outputs), or batch 1 for a specification that all samples share.
    offset: (batch, rows).
    clause: (batch, rows) integers >= 0; rows with the same number are alternatives ("or"), clauses are joined
        by "and". ``None``: every row is a clause of its own.

    Strict by design: a tie is not robust.
    """

    matrix: Tensor
    offset: Tensor
    clause: Tensor | None = None

    def __post_init__(self) -> None:
        if self.matrix.dim() != 3 or self.matrix.shape[1] == 0:
            raise InvalidInput(
                f"a spec matrix has shape (batch, rows, outputs) with at least one row, "
                f"not {tuple(self.matrix.shape)}"
            )
        if self.offset.shape != self.matrix.shape[:2]:
            raise InvalidInput(
                f"a spec offset has shape {tuple(self.matrix.shape[:2])}, not {tuple(self.offset.shape)}"
            )
        if self.clause is not None and self.clause.shape != self.offset.shape:
            raise InvalidInput(
                f"spec clauses have shape {tuple(self.offset.shape)}, not {tuple(self.clause.shape)}"
            )
        if self.clause is not None and (self.clause.is_floating_point() or bool((self.clause < 0).any())):
            raise InvalidInput("spec clauses are integers >= 0")
        if not (self.matrix.isfinite().all() and self.offset.isfinite().all()):
            raise InvalidInput("a spec holds NaN or Inf; give finite coefficients")

    @property
    def num_outputs(self) -> int:
        """The number of network outputs that the rows speak of."""
        return self.matrix.shape[2]

    def to(self, dtype: torch.dtype) -> Spec:
        """The same specification with float coefficients in ``dtype``."""
        if self.matrix.dtype is dtype and self.offset.dtype is dtype:
            return self
        return Spec(self.matrix.to(dtype), self.offset.to(dtype), self.clause)

    def on(self, device: torch.device) -> Spec:
        """The same specification on another device."""
        if self.matrix.device == device:
            return self
        clause = None if self.clause is None else self.clause.to(device)
        return Spec(self.matrix.to(device), self.offset.to(device), clause)

    def with_negated(self) -> Spec:
        """These rows followed by their negatives, each a clause of its own."""
        return Spec(torch.cat([self.matrix, -self.matrix], 1), torch.cat([self.offset, -self.offset], 1))

    def __getitem__(self, samples: slice | Tensor) -> Spec:
        """The specification of some samples; one shared by all stays as it is."""
        if self.matrix.shape[0] == 1:
            return self
        clause = None if self.clause is None else self.clause[samples]
        return Spec(self.matrix[samples], self.offset[samples], clause)

    def expanded(self, samples: int) -> Spec:
        """The specification with an entry for each of so many samples."""
        clause = None if self.clause is None else self.clause.expand(samples, -1)
        return Spec(self.matrix.expand(samples, -1, -1), self.offset.expand(samples, -1), clause)

    def evaluate(self, y: Tensor) -> Tensor:
        """The rows at outputs ``y`` of shape (batch, outputs): (batch, rows)."""
        matrix = self.matrix.expand(len(y), -1, -1)
        return torch.einsum("bro,bo->br", matrix, y.flatten(1)) + self.offset

    def clauses(self, rows: Tensor) -> Tensor:
        """The value of each clause, its largest row: (batch, clauses); +inf for a number without rows."""
        if self.clause is None:
            return rows
        clause = self.clause.expand(len(rows), -1)
        clauses = int(clause.max()) + 1 if len(rows) else 1
        best = torch.full((len(rows), clauses), -torch.inf, dtype=rows.dtype)
        best = best.to(rows.device).scatter_reduce(1, clause, rows, "amax")
        used = torch.zeros_like(best, dtype=torch.bool).scatter_(1, clause, True)
        return torch.where(used, best, torch.inf)

    def undecided(self, rows: Tensor) -> Tensor:
        """Which rows belong to a clause that is not proved by these lower bounds: (batch, rows)."""
        if self.clause is None:
            return rows <= 0
        return self.clauses(rows).gather(1, self.clause.expand(len(rows), -1)) <= 0

    def worst(self, rows: Tensor) -> Tensor:
        """The value that decides: the smallest over clauses of the largest row in the clause, (batch,).

        The property holds where this is > 0. Monotone in ``rows``, so lower bounds of the rows give a
        lower bound of it.
        """
        return self.clauses(rows).min(dim=1).values


def margins(labels: Tensor, num_classes: int) -> Spec:
    """The rows ``y_label - y_j`` for every other class ``j`` in class order, per sample.

    labels: (batch,) integers in [0, num_classes).
    Raises ``InvalidInput`` for a label outside that range or fewer than two classes.
    """
    if num_classes < 2:
        raise InvalidInput(f"margins need at least two classes, not {num_classes}")
    labels = labels.long()
    if labels.dim() != 1:
        raise InvalidInput(f"labels have shape (batch,), not {tuple(labels.shape)}")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        raise InvalidInput(
            f"label {int(labels[bad][0])} is out of range: the model has classes 0..{num_classes - 1}"
        )
    eye = torch.eye(num_classes, device=labels.device)
    others = torch.arange(num_classes, device=labels.device) != labels[:, None]
    rows = eye[labels][:, None, :] - eye.expand(len(labels), -1, -1)
    matrix = rows[others].view(len(labels), num_classes - 1, num_classes)
    return Spec(matrix, torch.zeros(matrix.shape[:2], device=labels.device))
