"""Slow, independent oracles for small networks: the triangle LP and the exact MILP, through HiGHS.

They see a graph only through the values of its operators (each affine node as the dense matrix that
differentiation gives), so that a wrong adjoint, a lost bias or a wrong relaxation cannot hide in them.
"""

from math import prod

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

import bounds
from bounds.kinds import Affine
from bounds.ops.relu import LeakyReLU

Rows = tuple[list[np.ndarray], list[float], list[float]]


def affine_map(graph: bounds.Graph, index: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Dense matrices (one per input) and offset of one affine node."""
    node = graph.nodes[index]
    params = tuple(p.double() for p in node.params)
    zeros = tuple(torch.zeros(1, *graph.nodes[i].shape, dtype=torch.float64) for i in node.inputs)
    offset = node.op.value(zeros, params)
    matrices = []
    for position, source in enumerate(node.inputs):
        n = prod(graph.nodes[source].shape)
        basis = torch.eye(n, dtype=torch.float64).view(n, *graph.nodes[source].shape)
        xs = tuple(basis if i == position else z.expand(n, *z.shape[1:]) for i, z in enumerate(zeros))
        columns = node.op.value(xs, params) - offset
        matrices.append(columns.flatten(1).T.numpy())
    return matrices, offset.flatten().numpy()


def minimum(
    graph: bounds.Graph,
    lower: list[np.ndarray],
    upper: list[np.ndarray],
    row: np.ndarray,
    exact: bool,
) -> float:
    """min row . output over the input box: the triangle relaxation, or with ``exact`` the network itself.

    lower, upper: per node, flat bounds of its values (node 0: the box).
    """
    sizes = [prod(node.shape) for node in graph.nodes]
    starts = np.cumsum([0, *sizes])
    total = int(starts[-1])
    relus = [i for i, n in enumerate(graph.nodes) if isinstance(n.op, LeakyReLU)]
    extra = {
        i: total + k for k, i in zip(np.cumsum([0, *[sizes[i] for i in relus]])[:-1], relus, strict=True)
    }
    variables = total + sum(sizes[i] for i in relus)
    constraints: Rows = ([], [], [])
    lo, hi = np.full(variables, -np.inf), np.full(variables, np.inf)
    lo[total:], hi[total:] = 0, 1
    for index, node in enumerate(graph.nodes):
        block = slice(starts[index], starts[index + 1])
        if index == 0:
            lo[block], hi[block] = lower[0], upper[0]
        elif isinstance(node.op, LeakyReLU):
            source = node.inputs[0]
            for j in range(sizes[index]):
                _relu(
                    constraints,
                    variables,
                    (int(starts[source]) + j, int(starts[index]) + j, int(extra[index]) + j),
                    (float(lower[source][j]), float(upper[source][j]), node.op.negative_slope),
                )
        elif isinstance(node.op, Affine):
            matrices, offset = affine_map(graph, index)
            for j in range(sizes[index]):
                a = np.zeros(variables)
                a[starts[index] + j] = 1
                for matrix, source in zip(matrices, node.inputs, strict=True):
                    a[starts[source] : starts[source + 1]] -= matrix[j]
                _add(constraints, a, float(offset[j]), float(offset[j]))
        else:
            raise TypeError(f"the oracle does not know {node.op.name}")
    objective = np.zeros(variables)
    objective[starts[graph.output] : starts[graph.output + 1]] = row
    integer = np.zeros(variables)
    integer[total:] = 1 if exact else 0
    result = milp(
        objective,
        constraints=LinearConstraint(np.array(constraints[0]), constraints[1], constraints[2]),
        bounds=Bounds(lo, hi),
        integrality=integer,
    )
    assert result.success, result.message
    return float(result.fun)


def _add(constraints: Rows, a: np.ndarray, low: float, high: float) -> None:
    constraints[0].append(a)
    constraints[1].append(low)
    constraints[2].append(high)


def _relu(
    constraints: Rows, variables: int, at: tuple[int, int, int], facts: tuple[float, float, float]
) -> None:
    """y = relu(z) with leak s: y >= z, y >= s z, and with the binary b the two big-M upper faces."""
    (z, y, b), (low, high, leak) = at, facts

    def row(cz: float, cy: float, cb: float) -> np.ndarray:
        a = np.zeros(variables)
        a[z], a[y], a[b] = cz, cy, cb
        return a

    low, high = min(low, 0.0), max(high, 0.0)
    _add(constraints, row(-1, 1, 0), 0, np.inf)
    _add(constraints, row(-leak, 1, 0), 0, np.inf)
    # y <= z - (1 - s) low (1 - b)  and  y <= s z + (1 - s) high b; eliminating b gives the triangle.
    _add(constraints, row(-1, 1, -(1 - leak) * low), -np.inf, -(1 - leak) * low)
    _add(constraints, row(-leak, 1, -(1 - leak) * high), -np.inf, 0)
