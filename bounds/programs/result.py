"""What a program returns, and the form that its question takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.errors import InvalidInput, Unsupported
from bounds.graph import Graph
from bounds.propagate.problem import Problem
from bounds.rounding import Level, check_dot_products
from bounds.sets import Ball, InputSet
from bounds.spec import Spec

_MEMORY = 2**28


@dataclass(frozen=True, eq=False)
class Program:
    """The least values of the rows of a specification, (batch, rows) each.

    value: what the solver says that no row falls below, within its tolerances; minus infinity where it gave
        up, infinity where it found no point at all. lower: what is proved, at ``level``.
    point: where in the region the solver's solution lies, (batch, rows, *input_shape) in float64; attained:
        the rows there, by running the graph in float64.
    """

    value: Tensor
    lower: Tensor
    point: Tensor
    attained: Tensor
    level: Level


def stated(graph: Graph, region: InputSet, spec: Spec, level: Level | str) -> tuple[Problem, Spec]:
    """The question in float64, composite operators taken apart.

    Raises ``InvalidInput`` for shapes that do not fit together, ``Unsupported`` for level ``deployed``.
    """
    level = Level(level)
    if level is Level.DEPLOYED:
        raise Unsupported("programs by themselves stop at level 'real'; use bounds.bound(..., method='lp')")
    if region.shape != graph.input_shape:
        raise InvalidInput(f"the region has shape {region.shape}; the graph expects {graph.input_shape}")
    graph, region = graph.expanded().to(torch.float64), region.to(torch.float64)
    outputs = graph.nodes[graph.output].shape
    if spec.num_outputs != torch.Size(outputs).numel() or len(spec.matrix) not in (1, len(region)):
        raise InvalidInput(
            f"the specification has shape {tuple(spec.matrix.shape)}; the graph has outputs {outputs} "
            f"and the region {len(region)} samples"
        )
    check_dot_products("cpu")
    return Problem(graph, region, level, _MEMORY), spec.to(torch.float64)


def check_region(region: InputSet, cones: bool) -> None:
    """Raises ``Unsupported`` for a set without a program; cones: whether second-order cones have one."""
    if region.is_box:
        return
    if not isinstance(region, Ball):
        raise Unsupported(f"{type(region).__name__} has no program; use a box around it, or a ball")
    if region.norm == 2 and not cones:
        raise Unsupported("an L2 ball has no mixed-integer linear program; use lp, or another norm")
