"""What is really true of small networks, by other means than bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

import bounds
from bounds.kinds import Affine, Known
from bounds.ops.relu import LeakyReLU

Floats = NDArray[np.float64]


def least_by_milp(graph: bounds.Graph, box: bounds.Box, spec: bounds.Spec) -> float:
    """The least ``spec.worst`` of a network of affine operators and (leaky) ReLUs over a single box.

    Of each clause the least t with t >= every row: a mixed-integer program (Tjeng et al. 2019).
    """
    model = _Model(box)
    outputs = model.of(graph.expanded().to(torch.float64))
    rows = torch.arange(spec.matrix.shape[1])[None] if spec.clause is None else spec.clause
    least = np.inf
    for number in rows.unique().tolist():
        asked = (rows[0] == number).nonzero()[:, 0]
        least = min(least, model.least(outputs, spec.matrix[0, asked].numpy(), spec.offset[0, asked].numpy()))
    return least


class _Model:
    """Linear expressions (matrix over the variables, constant) of each node; the last variable is t."""

    def __init__(self, box: bounds.Box) -> None:
        self.low = box.lower[0].flatten().double().tolist()
        self.high = box.upper[0].flatten().double().tolist()
        self.whole: list[int] = []
        self.rows: list[tuple[dict[int, float], float]] = []  # sum of terms >= number

    def of(self, graph: bounds.Graph) -> list[int]:
        """The variables of the output."""
        found = [list(range(len(self.low)))]
        for node in graph.nodes[1:]:
            ins = [found[i] for i in node.inputs]
            if isinstance(node.op, Known):
                found.append(ins[0])
            elif isinstance(node.op, Affine):
                found.append(self._affine(node, [graph.nodes[i].shape for i in node.inputs], ins))
            elif isinstance(node.op, LeakyReLU):
                found.append([self._relu(z, node.op.negative_slope) for z in ins[0]])
            else:
                raise NotImplementedError(node.op.name)
        return found[graph.output]

    def _variable(self, low: float, high: float) -> int:
        self.low.append(low)
        self.high.append(high)
        return len(self.low) - 1

    def _affine(
        self, node: bounds.graph.Node, shapes: Sequence[tuple[int, ...]], ins: list[list[int]]
    ) -> list[int]:
        size = sum(map(len, ins))
        zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
        constant = node.op.value(tuple(zeros), node.params).flatten()
        eye = torch.eye(size, dtype=torch.float64).split([len(i) for i in ins], 1)
        moved = [part.reshape(size, *shape) for part, shape in zip(eye, shapes, strict=True)]
        matrix = (node.op.value(tuple(moved), node.params).reshape(size, -1) - constant).T
        sources = [z for each in ins for z in each]
        low, high = np.array(self.low)[sources], np.array(self.high)[sources]
        made = []
        for w, c in zip(matrix.numpy(), constant.tolist(), strict=True):
            lowest = float(np.minimum(w * low, w * high).sum()) + c
            highest = float(np.maximum(w * low, w * high).sum()) + c
            y = self._variable(lowest - 1e-9, highest + 1e-9)
            terms: dict[int, float] = {y: 1.0}
            for z, value in zip(sources, w.tolist(), strict=True):
                terms[z] = terms.get(z, 0.0) - value
            self.rows += [(terms, c), ({k: -v for k, v in terms.items()}, -c)]
            made.append(y)
        return made

    def _relu(self, z: int, slope: float) -> int:
        low, high = self.low[z], self.high[z]
        ends = [max(low, slope * low), max(high, slope * high)]
        y = self._variable(min(ends), max(ends))
        self.rows += [({y: 1.0, z: -1.0}, 0.0), ({y: 1.0, z: -slope}, 0.0)]
        on = self._variable(0.0, 1.0)
        self.whole.append(on)
        # y <= slope z + (1 - slope) high on, y <= z - (1 - slope) low (1 - on)
        self.rows.append(({y: -1.0, z: slope, on: (1 - slope) * max(high, 0.0)}, 0.0))
        room = -(1 - slope) * min(low, 0.0)
        self.rows.append(({y: -1.0, z: 1.0, on: -room}, -room))
        return y

    def least(self, outputs: list[int], matrix: Floats, offset: Floats) -> float:
        """The least t with t >= matrix @ outputs + offset."""
        n = len(self.low) + 1
        rows = [*self.rows]
        for w, c in zip(matrix, offset, strict=True):
            terms = {n - 1: 1.0}
            for y, value in zip(outputs, w.tolist(), strict=True):
                terms[y] = terms.get(y, 0.0) - value
            rows.append((terms, float(c)))
        a = np.zeros((len(rows), n))
        for i, (terms, _) in enumerate(rows):
            for j, value in terms.items():
                a[i, j] = value
        cost, whole = np.eye(n)[-1], np.zeros(n)
        whole[self.whole] = 1
        limits = Bounds(np.array([*self.low, -np.inf]), np.array([*self.high, np.inf]))
        found = milp(
            cost,
            integrality=whole,
            bounds=limits,
            constraints=LinearConstraint(a, np.array([c for _, c in rows]), np.inf),
            options={"mip_rel_gap": 0.0},
        )
        if found.status != 0:
            raise RuntimeError(found.message)
        return float(found.fun)
