"""``bounds.bound``: the one call that turns a graph, a region and a question into numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bounds.errors import InvalidInput, Unsupported
from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Composite
from bounds.propagate import cascade, intervals
from bounds.propagate.problem import Problem
from bounds.rounding import U32, Arithmetic, Level, check_dot_products
from bounds.sets import InputSet
from bounds.spec import Spec

_LEAST = 2**20  # a budget that is not worth dividing further
# Whether the intervals, too, come from linear programs.
_PROGRAMS = {"lp": False, "lp-joint": True}
METHODS = (*cascade.METHODS, *_PROGRAMS)

__all__ = ["METHODS", "Bounds", "bound"]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower and upper bounds, (batch, rows) with a specification, else (batch, *output_shape).

    level: what they claim (see ``bounds.Level``). An element that could not be bounded is infinite.
    """

    lower: Tensor
    upper: Tensor
    level: Level

    @property
    def arithmetic(self) -> Arithmetic:
        """FLOAT or ROUNDED."""
        return self.level.arithmetic


def bound(
    graph: Graph,
    region: InputSet,
    spec: Spec | None = None,
    method: str = "crown",
    dtype: torch.dtype | None = None,
    level: Level | str | None = None,
    memory: int = 2**28,
) -> Bounds:
    """Bounds of the outputs, or of the rows of ``spec``, over every input in ``region``.

    method: ``"ibp"`` (interval bound propagation; Gowal et al. 2018), ``"forward"`` (zonotopes; DeepZ, Singh
        et al. 2018, met with interval analysis), ``"crown-ibp"`` (Zhang et al. 2020),
        ``"crown"`` (Zhang et al. 2018; DeepPoly, Singh et al. 2019) with one gradient step on the slopes
        of the result's own rows for samples that are not proved without, ``"alpha-crown"`` (Xu et al. 2021)
        with twenty for all, ``"alpha-crown-joint"`` with ten also on the rows of every undecided neuron.
        ``"cascade"`` goes from the cheapest to the dearest and stops for each sample where ``spec`` is
        proved. ``"lp"`` (Salman et al. 2019) takes the best slopes from linear programs, one for each row,
        ``"lp-joint"`` also those of every undecided neuron: for small graphs over boxes and balls. With a
        ``spec`` the question is the lower side; the upper one comes with the interval analysis on the way.
    dtype: float32 or float64 to compute in; by default that of the region.
    level: ``"float"`` (not a proof), ``"real"`` or ``"deployed"``. By default float64 gives ``real``, with
        every rounding error accounted for, and float32 gives ``float``. ``real`` and ``deployed`` compute
        in float64.
    memory: bytes that the rows of one chunk may take; where the machine has less, it is tried with less.

    Each sample's bounds depend on that sample alone. Gradients flow into live parameters where autograd is
    enabled and the level is ``float``; call it under ``torch.no_grad()`` where they are not wanted.
    Certified training is the gradient of a loss of them, here of the worst margins::

        graph = bounds.trace(module, x[:1])
        lower = bounds.bound(graph, bounds.Ball(x, eps), bounds.margins(y, 10), "ibp", level="float").lower
        torch.nn.functional.softplus(-lower).sum().backward()  # fills module.parameters()

    Raises ``InvalidInput`` for shapes that do not fit together and unknown methods, ``Unsupported`` for
    operators without the analysis.
    """
    if method not in METHODS:
        raise InvalidInput(f"method {method!r} is not known; use one of {', '.join(METHODS)}")
    level, dtype = _resolve(region, dtype, level)
    check_shapes(graph, region, spec)
    rounded = level is not Level.FLOAT
    if rounded:
        check_dot_products(region.box().lower.device.type)
    # without gradients nothing needs the bookkeeping for them, which costs small networks a tenth of the time
    with torch.inference_mode(rounded or not torch.is_grad_enabled()):
        while True:
            try:
                found = _bound(graph, region, spec, method, dtype, level, memory)
                break
            except RuntimeError as error:
                if memory < _LEAST or not is_out_of_memory(error):
                    raise
            memory //= 4
    # Fails closed; and what is returned may be differentiated through.
    ends = found.closed()
    return Bounds(ends.lower, ends.upper, level)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU, where torch has no error class for it."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)


def _bound(
    graph: Graph,
    region: InputSet,
    spec: Spec | None,
    method: str,
    dtype: torch.dtype,
    level: Level,
    memory: int,
) -> Interval:
    like = region.box().lower
    region = region if like.dtype is dtype else region.to(dtype)
    graph = bindable(graph, level).to(dtype, like.device)
    problem = Problem(graph, region, level, memory)
    if spec is not None:
        return _of_rows(problem, spec.to(dtype).on(like.device), method)
    if method == "ibp":
        return intervals.outputs(problem)
    if method == "cascade":
        raise InvalidInput("a cascade stops where a specification is proved: give a spec")
    both = _of_rows(problem, _identity(graph, region.box().lower).with_negated(), method)
    lower, upper = both.lower.view(len(region), 2, *graph.output_shape).unbind(1)
    return Interval(lower, -upper)


def _of_rows(problem: Problem, spec: Spec, method: str) -> Interval:
    if method == "ibp":
        return intervals.rows(problem, spec)
    if method in _PROGRAMS:
        from bounds.programs import relaxed  # noqa: PLC0415 - loads cvxpy, which takes a second

        return relaxed.row_bounds(problem, spec, _PROGRAMS[method])
    bounded = cascade.cascade if method == "cascade" else cascade.row_bounds
    return bounded(problem, spec, cascade.METHODS[method])


def bindable(graph: Graph, level: Level) -> Graph:
    """The graph without composite operators; they must mean what they compute at level ``deployed``."""
    for node in graph.nodes if level is Level.DEPLOYED else ():
        if isinstance(node.op, Composite) and not node.op.faithful:
            raise Unsupported(
                f"operator {node.op.name} of node {node.name!r} has no account of its float32 execution; "
                "ask for level 'real'"
            )
        if not all(_fits_float32(p) for p in node.params):
            raise Unsupported(
                f"node {node.name!r} ({node.op.name}) has weights beyond the range of float32; "
                "ask for level 'real'"
            )
    return graph.expanded()


def _fits_float32(x: Tensor) -> bool:
    """Whether float32 holds every element to one rounding."""
    return bool(((x.float() - x).abs() <= U32 * x.abs()).all())


def _identity(graph: Graph, like: Tensor) -> Spec:
    n = prod(graph.output_shape)
    return Spec(torch.eye(n).to(like)[None], torch.zeros(1, n).to(like))


def _resolve(
    region: InputSet, dtype: torch.dtype | None, level: Level | str | None
) -> tuple[Level, torch.dtype]:
    """Which claim in which dtype; the two must go together."""
    level = None if level is None else Level(level)
    if dtype is None:
        proof = level in (Level.REAL, Level.DEPLOYED)
        dtype = torch.float64 if proof else region.box().lower.dtype
    if dtype not in (torch.float32, torch.float64):
        raise InvalidInput(f"bounds are computed in float32 or float64, not {dtype}")
    if level is None:
        level = Level.REAL if dtype is torch.float64 else Level.FLOAT
    if level is not Level.FLOAT and dtype is not torch.float64:
        raise InvalidInput(f"level {level.value!r} is computed in float64; leave dtype out or use float64")
    return level, dtype


def check_shapes(graph: Graph, region: InputSet, spec: Spec | None) -> None:
    """Raises ``InvalidInput`` where graph, region and specification do not fit together."""
    if region.shape != graph.input_shape:
        raise InvalidInput(f"the region has shape {region.shape}; the graph expects {graph.input_shape}")
    if spec is None:
        return
    if spec.num_outputs != prod(graph.output_shape):
        n = prod(graph.output_shape)
        raise InvalidInput(f"the specification speaks of {spec.num_outputs} outputs; the graph has {n}")
    if spec.matrix.shape[0] not in (1, len(region)):
        raise InvalidInput(
            f"the specification is for {spec.matrix.shape[0]} samples; the region has {len(region)}"
        )
