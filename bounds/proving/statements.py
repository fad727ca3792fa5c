"""Regions and specifications as statements of a proof."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.proof.basics import Array
from bounds.proof.format import Clause, Part, Statement
from bounds.rounding import Level
from bounds.sets import InputSet
from bounds.spec import Spec


def statement(model: str, level: Level, region: InputSet, spec: Spec) -> Statement:
    """What ``verified`` would claim of every sample. model: see ``Statement``.

    Raises ``InvalidInput`` for regions that are no boxes and for level float, which claims nothing.
    """
    if not region.is_box or level is Level.FLOAT:
        what = "level 'float' claims nothing" if region.is_box else "the region is no box"
        raise InvalidInput(f"this has no proof: {what}")
    box, spec = region.to(torch.float64).box(), spec.expanded(len(region)).to(torch.float64)
    parts = []
    for k in range(len(region)):
        groups = alternatives(spec, k)
        matrix, offset = _array(spec.matrix[k]), _array(spec.offset[k])
        clauses = tuple(Clause(matrix[rows], offset[rows]) for rows in groups)
        parts.append(Part(_array(box.lower[k].flatten()), _array(box.upper[k].flatten()), clauses))
    return Statement(model, level.value, tuple(parts))


def alternatives(spec: Spec, sample: int) -> list[Array]:
    """The rows of each clause of a sample, in the order of the clauses' numbers."""
    if spec.clause is None:
        return [np.array([row]) for row in range(spec.matrix.shape[1])]
    clause = spec.clause[sample].numpy()
    return [np.flatnonzero(clause == number) for number in np.unique(clause)]


def _array(x: Tensor) -> Array:
    found: Array = np.ascontiguousarray(x.detach().cpu().double().numpy())
    return found
