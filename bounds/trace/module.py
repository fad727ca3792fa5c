"""``torch.nn.Module`` -> ``Graph`` through ``torch.export``; parameters stay live."""

from __future__ import annotations

import inspect
import io
import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn
from torch._decomp import decomposition_table

from bounds.errors import InvalidGraph, InvalidInput, Unsupported
from bounds.graph import Builder, Graph, Ref
from bounds.ops import TORCH, Call
from bounds.ops.excluded import check
from bounds.trace.batch import Found, Whole, flat, imported
from bounds.trace.fuse import fused

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# What the tracer's batch of one may lose its batch axis in, until it is back in front.
_LAYOUT = frozenset(
    f"aten::{name}"
    for name in (
        "transpose",
        "permute",
        "view",
        "_unsafe_view",
        "unsqueeze",
        "squeeze",
        "select",
        "cat",
        "stack",
    )
)
# What makes a condition of numbers, and what is another function on conditions than on 0 and 1.
_COMPARISONS = frozenset(f"aten::{name}" for name in ("gt", "ge", "lt", "le"))
_SATURATING = frozenset(f"aten::{name}" for name in ("add", "addcmul", "diff"))
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def trace(module: nn.Module, example: Tensor) -> Graph:
    """The graph of ``module`` in evaluation mode, for inputs like ``example`` (batch, *input_shape).

    Parameters and buffers of the graph are those of the module, so that the graph follows its training.
    What the module computes from its parameters alone (a normalised weight, say) is frozen at its present
    value unless it is a view. The module keeps its mode and its state. The graph is compared with the
    module on two samples before it is returned: the first of ``example`` and a wave of the same shape.

    Raises ``InvalidInput`` if ``example`` is not a float32 or float64 batch that the module accepts,
    ``Unsupported`` naming operator and submodule for what the engine cannot bound, and ``InvalidGraph`` if
    samples of a batch do not stay apart or the graph does not compute what the module does.
    """
    if example.dtype not in _TOLERANCE or example.dim() < 2 or len(example) == 0:
        raise InvalidInput(
            f"the example has shape {tuple(example.shape)} and dtype {example.dtype}; "
            "give a float32 or float64 tensor (batch, *input_shape)"
        )
    required = [
        p
        for p in inspect.signature(module.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if len(required) > 1:
        names = ", ".join(p.name for p in required)
        raise Unsupported(
            f"{type(module).__name__} takes several inputs ({names}); wrap it so that it takes one"
        )
    with _evaluation_mode(module):
        probe = _probe(example)
        expected = _evaluate(module, probe)
        if not bool(expected.isfinite().all()):  # the wave may lie where a logarithm is not defined
            probe = _probe(example, beside=True)
            expected = _evaluate(module, probe)
        graph = _build(_export(module, example[:1]), module, example)
    _compare(module, graph(probe).detach(), expected)
    return graph


def _probe(example: Tensor, beside: bool = False) -> Tensor:
    """Two samples to compare on: the first of the example, and a wave, or a wave's share of it ``beside``."""
    first = example[:1].detach().clone()
    wave = torch.sin(torch.arange(first.numel(), dtype=first.dtype, device=first.device)).view_as(first)
    return torch.cat([first, first * (1 + wave / 2) if beside else wave])


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode, each put back afterwards."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def _evaluate(module: nn.Module, probe: Tensor) -> Tensor:
    name, shape = type(module).__name__, tuple(probe.shape)
    try:
        with torch.no_grad():
            y = module(probe.clone())
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InvalidInput(f"{name} fails on a batch of shape {shape}: {_first_line(error)}") from error
    if not isinstance(y, Tensor):
        raise Unsupported(f"{name} returns a {type(y).__name__}; wrap it so that it returns one tensor")
    if y.dim() == 0 or len(y) != len(probe):
        raise InvalidGraph(
            f"{name} maps a batch of shape {shape} to {tuple(y.shape)}; keep the batch on axis 0"
        )
    return y


def _export(module: nn.Module, example: Tensor) -> ExportedProgram:
    """The module as one graph of aten operators, free of in-place updates, recurrent layers step by step."""
    try:
        with _quiet(), _without_fast_path():
            exported = torch.export.export(module, (example.detach().clone(),))
            program: ExportedProgram = exported.run_decompositions(_unrolled())
    # Whatever the tracer stumbles over, in its own code or the user's, means that there is no graph.
    except Exception as error:
        raise Unsupported(
            f"torch.export cannot trace {type(module).__name__}: {_first_line(error)}; "
            "remove control flow and operations that depend on the input's values"
        ) from error
    changed = program.graph_signature.buffers_to_mutate
    if changed:
        names = ", ".join(changed.values())
        raise Unsupported(
            f"{type(module).__name__} changes its buffers {names} when evaluated; keep them fixed"
        )
    return program


def _unrolled() -> dict[torch._ops.OperatorBase, Callable[..., object]]:
    """The tracer's own decompositions of recurrent layers, into as many steps as the example has."""
    aten = torch.ops.aten
    layers = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
    return {layer: decomposition_table[layer] for layer in layers}


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Transformer layers by their own operators rather than one for all of them."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings, log lines and printed graphs: what matters is in its exception."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _compare(module: nn.Module, got: Tensor, expected: Tensor) -> None:
    """Refuse a graph that does not compute what the module does."""
    name = type(module).__name__
    if not bool(expected.isfinite().all()):
        raise InvalidInput(f"{name} returns NaN or Inf on the example")
    if got.shape != expected.shape:
        raise InvalidGraph(f"{name} returns shape {tuple(expected.shape)}; its graph {tuple(got.shape)}")
    error, scale = float((got - expected).abs().max()), 1 + float(expected.abs().max())
    if not error <= _TOLERANCE[expected.dtype] * scale:
        raise InvalidGraph(
            f"the graph of {name} differs from the module by {error:.3g}; it may mix samples of a batch "
            "or depend on the values of its input"
        )


def _build(program: ExportedProgram, module: nn.Module, example: Tensor) -> Graph:
    builder = Builder(tuple(example.shape[1:]))
    name = type(module).__name__
    walk = _Walk(builder, example.dtype, name, _sources(program, module, builder.input))
    for node in program.graph.nodes:
        walk.visit(node)
    (result,) = program.graph_signature.user_outputs
    output = walk.values.get(result) if isinstance(result, str) else None
    if isinstance(output, Whole):
        raise Unsupported(f"the output of {name} has lost its batch axis; keep it as axis 0")
    if not isinstance(output, Ref):
        raise Unsupported(f"the output of {name} does not depend on its input")
    return check(fused(builder.build(output))).to(device=example.device)


def _sources(program: ExportedProgram, module: nn.Module, entry: Ref) -> dict[str, Ref | Tensor]:
    """What each placeholder of the exported graph stands for: the input, or a live tensor of the module."""
    signature = program.graph_signature
    found: dict[str, Ref | Tensor] = {}
    for placeholder, name in signature.inputs_to_parameters.items():
        found[placeholder] = module.get_parameter(name)
    for placeholder, name in signature.inputs_to_buffers.items():
        found[placeholder] = module.get_buffer(name)
    for placeholder, name in signature.inputs_to_lifted_tensor_constants.items():
        found[placeholder] = program.constants[name]
    for placeholder in signature.user_inputs:
        if not isinstance(placeholder, str) or len(signature.user_inputs) > 1:
            raise Unsupported(f"{type(module).__name__} takes several inputs; wrap it to take one")
        found[placeholder] = entry
    return found


@dataclass(frozen=True, eq=False)
class _Walk:
    """The exported graph's nodes so far, by name: graph values, constants, or tuples of them."""

    builder: Builder
    dtype: torch.dtype
    module: str
    sources: Mapping[str, Ref | Tensor]
    values: dict[str, object] = field(default_factory=dict)

    def visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if node.name not in self.sources:
                raise Unsupported(f"{self.module} uses {node.name!r}, which is no tensor; use tensors alone")
            self.values[node.name] = self.sources[node.name]
        elif node.op == "call_function":
            self.values[node.name] = self._call(node)
        elif node.op != "output":
            raise Unsupported(
                f"operator {node.target} at {self._where(node)} is a {node.op}; rewrite that part"
            )

    def _call(self, node: fx.Node) -> object:
        target = node.target
        if target is operator.getitem:
            parts, index = self._value(node.args[0]), node.args[1]
            if not isinstance(parts, tuple | list) or not isinstance(index, int):
                return None
            if index >= len(parts):
                raise Unsupported(f"result {index} of {node.args[0]} at {self._where(node)} is not computed")
            return parts[index]
        if not isinstance(target, torch._ops.OpOverload):
            numbers = [self._value(value) for value in node.args]
            if callable(target) and all(isinstance(n, int | float | Tensor) for n in numbers):
                return target(*numbers)
            raise Unsupported(f"operator {target} at {self._where(node)}; rewrite that part of the model")
        if not target._schema.returns:  # an assertion that the tracer left behind
            return None
        args = self._arguments(node, target)
        if not any(isinstance(value, Ref | Whole) for value in flat(list(args.values()))):
            return self._execute(node, target)
        return self._import(node, target, args)

    def _import(self, node: fx.Node, target: torch._ops.OpOverload, args: dict[str, object]) -> Found:
        out = node.meta.get("val")
        call = Call(
            self.builder,
            target._schema.name,
            self._where(node),
            args,
            out=_known(out),
            name=_path(node)[0] or node.name,
            dtype=self.dtype,
        )
        result = imported(TORCH, call, single=call.operator in _LAYOUT)
        kinds = (self.dtype, torch.bool)  # conditions are values of 0 and 1
        if isinstance(out, Tensor) and out.dtype not in kinds and isinstance(result, Ref):
            raise call.unsupported(f"its result is {out.dtype} in a model of {self.dtype}", "keep one dtype")
        if isinstance(out, Tensor) and out.dtype is torch.bool and isinstance(result, Ref):
            _check_condition(call, node)
        return result

    def _arguments(self, node: fx.Node, target: torch._ops.OpOverload) -> dict[str, object]:
        """All arguments by the name that the operator's schema gives them, defaults filled in."""
        args: dict[str, object] = {}
        for position, argument in enumerate(target._schema.arguments):
            if position < len(node.args):
                args[argument.name] = self._value(node.args[position])
            elif argument.name in node.kwargs:
                args[argument.name] = self._value(node.kwargs[argument.name])
            else:
                args[argument.name] = argument.default_value
        return args

    def _value(self, value: object) -> object:
        """An argument with the graph's nodes replaced by what they stand for."""
        if isinstance(value, fx.Node):
            return self.values[value.name]
        if isinstance(value, list | tuple):
            return [self._value(v) for v in value]
        return value

    def _execute(self, node: fx.Node, target: torch._ops.OpOverload) -> object:
        """An operator on constants alone; views of live parameters stay live, anything else is frozen."""
        if torch.Tag.nondeterministic_seeded in target.tags:
            raise Unsupported(
                f"operator {target._schema.name} at {self._where(node)} is random; a graph is fixed"
            )
        args = [self._value(value) for value in node.args]
        with torch.enable_grad():
            result = target(*args, **{name: self._value(value) for name, value in node.kwargs.items()})
        return result.detach() if isinstance(result, Tensor) and not result._is_view() else result

    def _where(self, node: fx.Node) -> str:
        """Which submodule of which class a node comes from."""
        path, kind = _path(node)
        inside = f"module '{path}' ({kind}) of {self.module}" if path else self.module
        return f"node '{node.name}' in {inside}"


def _check_condition(call: Call, node: fx.Node) -> None:
    """Raises ``Unsupported`` for a condition that is not 0 and 1 where its formula gives numbers."""
    if call.operator in _COMPARISONS:
        return
    found = [source.meta.get("val") for source in node.all_input_nodes]
    if call.operator in _SATURATING or any(
        isinstance(v, Tensor) and v.dtype is not torch.bool for v in found
    ):
        raise call.unsupported("a condition out of numbers", "write it as a comparison, such as x > 0")


def _known(out: object) -> tuple[int, ...] | None:
    """The shape that the tracer found, if it is made of numbers."""
    if not isinstance(out, Tensor) or not all(isinstance(size, int) for size in out.shape):
        return None
    return tuple(out.shape)


def _path(node: fx.Node) -> tuple[str, str]:
    """The innermost submodule that a node comes from, as path and class name; empty for the root."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return path, str(kind).rpartition(".")[2]
