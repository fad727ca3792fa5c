"""Recurrent cells, and the layers of ONNX unrolled into as many steps as the sequence has.

Gates of torch are stacked as input, forget, cell, output (LSTM) and reset, update, new (GRU); ONNX has
input, output, forget, cell and update, reset, hidden. All functions here take the order of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Pointwise
from bounds.ops.elementwise import difference, summed, times
from bounds.ops.linear import Linear
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.relu import LeakyReLU
from bounds.ops.shape import reshaped
from bounds.ops.slicing import joined, parted, selected
from bounds.ops.sshape import Sigmoid, Tanh


@dataclass(frozen=True, eq=False)
class Weights:
    """One cell's weights: (gates * hidden, inputs), (gates * hidden, hidden), biases or None."""

    inputs: Tensor
    hidden: Tensor
    bias_inputs: Tensor | None
    bias_hidden: Tensor | None

    @property
    def size(self) -> int:
        """How many hidden numbers there are."""
        return self.hidden.shape[1]


Cell = Callable[[Call, Value, Value, Value, Weights], tuple[Value, Value]]


def _linear(call: Call, x: Value, weight: Tensor, bias: Tensor | None) -> Value:
    if isinstance(x, Tensor):
        return torch.nn.functional.linear(x.to(weight), weight, bias)
    return call.apply(Linear(), x, params=(weight,) if bias is None else (weight, bias))


def _plus(call: Call, a: Value, b: Value) -> Value:
    return a + b if isinstance(a, Tensor) and isinstance(b, Tensor) else summed(call, a, b)


def _minus(call: Call, a: Value, b: Value) -> Value:
    return a - b if isinstance(a, Tensor) and isinstance(b, Tensor) else difference(call, a, b)


def _times(call: Call, a: Value, b: Value) -> Value:
    return a * b if isinstance(a, Tensor) and isinstance(b, Tensor) else times(call, a, b)


def _through(call: Call, op: Pointwise, x: Value) -> Value:
    return op.function(x) if isinstance(x, Tensor) else call.apply(op, x)


def _gates(call: Call, x: Value, count: int) -> Sequence[Value]:
    if isinstance(x, Tensor):
        return x.chunk(count, dim=-1)
    full = call.full_shape(x)
    return parted(call, x, len(full) - 1, [full[-1] // count] * count)


def lstm(call: Call, x: Value, h: Value, c: Value, w: Weights) -> tuple[Value, Value]:
    """Hochreiter & Schmidhuber (1997) with forget gates: the next hidden value and cell."""
    both = _plus(call, _linear(call, x, w.inputs, w.bias_inputs), _linear(call, h, w.hidden, w.bias_hidden))
    i, f, g, o = _gates(call, both, 4)
    i, f, o = (_through(call, Sigmoid(), gate) for gate in (i, f, o))
    kept, new = _times(call, f, c), _times(call, i, _through(call, Tanh(), g))
    cell = _plus(call, kept, new)
    return _times(call, o, _through(call, Tanh(), cell)), cell


def gru(call: Call, x: Value, h: Value, c: Value, w: Weights) -> tuple[Value, Value]:
    """Cho et al. (2014), the reset gate behind the product with the hidden value; no second state."""
    from_x = _gates(call, _linear(call, x, w.inputs, w.bias_inputs), 3)
    from_h = _gates(call, _linear(call, h, w.hidden, w.bias_hidden), 3)
    reset, update = (
        _through(call, Sigmoid(), _plus(call, a, b)) for a, b in zip(from_x[:2], from_h[:2], strict=True)
    )
    new = _through(call, Tanh(), _plus(call, from_x[2], _times(call, reset, from_h[2])))
    return _plus(call, new, _times(call, update, _minus(call, h, new))), c


def simple(op: Pointwise) -> Cell:
    """Elman (1990): one function of the sum of both products."""

    def cell(call: Call, x: Value, h: Value, c: Value, w: Weights) -> tuple[Value, Value]:
        both = _plus(
            call, _linear(call, x, w.inputs, w.bias_inputs), _linear(call, h, w.hidden, w.bias_hidden)
        )
        return _through(call, op, both), c

    return cell


_TORCH_CELLS: dict[str, Cell] = {
    "aten::gru_cell": gru,
    "aten::rnn_tanh_cell": simple(Tanh()),
    "aten::rnn_relu_cell": simple(LeakyReLU()),
}


def _cell_weights(call: Call) -> Weights:
    found = (call.constant("w_ih"), call.constant("w_hh"), call.optional("b_ih"), call.optional("b_hh"))
    return Weights(*found)


def _state(call: Call, value: object) -> Value:
    if not isinstance(value, Ref | Tensor):
        raise call.unsupported("a state that is neither a graph value nor a constant")
    return value


@from_torch("aten::lstm_cell")
def _lstm_cell(call: Call) -> tuple[Value, ...]:
    states = call.get("hx")
    if not isinstance(states, list | tuple) or len(states) != 2:
        raise call.unsupported("a state that is not a pair")
    h, c = (_state(call, state) for state in states)
    return lstm(call, _state(call, call.get("input")), h, c, _cell_weights(call))


@from_torch(*_TORCH_CELLS)
def _plain_cell(call: Call) -> Value:
    x, h = _state(call, call.get("input")), _state(call, call.get("hx"))
    return _TORCH_CELLS[call.operator](call, x, h, h, _cell_weights(call))[0]


_ONNX_CELLS: dict[str, tuple[Cell, tuple[int, ...], tuple[str, ...]]] = {
    "LSTM": (lstm, (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh")),
    "GRU": (gru, (1, 0, 2), ("Sigmoid", "Tanh")),
    "RNN": (simple(Tanh()), (0,), ("Tanh",)),
}


@from_onnx("LSTM", "GRU", "RNN")
def _onnx_layer(call: Call) -> tuple[Value, ...]:
    """The sequence is on axis 0 and the batch on axis 1, so that only one sample's can be told apart."""
    x = call.ref("0")
    _check(call, x)
    steps = [selected(call, x, 0, t) for t in range(x.shape[0])]
    outputs: list[list[Value]] = []
    last: list[tuple[Value, Value]] = []
    for direction in range(call.constant("1").shape[0]):
        backwards = call.get("direction", "forward") == "reverse" or direction == 1
        found, state = _run(call, steps[::-1] if backwards else steps, direction)
        outputs.append(found[::-1] if backwards else found)
        last.append(state)
    at_steps = [_stacked(call, at, 4) for at in zip(*outputs, strict=True)]
    hidden, cell = (_stacked(call, states, 3) for states in zip(*last, strict=True))
    return joined(call, at_steps, 0), hidden, cell


def _check(call: Call, x: Ref) -> None:
    if call.batched or len(x.shape) != 3 or x.shape[1] != 1 or call.integer("layout", 0):
        raise call.unsupported(
            f"a value of shape {call.full_shape(x)} where (sequence, one sample, inputs) is expected",
            "export it with a fixed batch of one and layout 0",
        )
    if call.get("clip") is not None or call.integer("input_forget", 0) or call.optional("7") is not None:
        raise call.unsupported("clipping, coupled gates or peepholes")
    lengths = call.optional("4")
    if lengths is not None and not bool((lengths == x.shape[0]).all()):
        raise call.unsupported("sequences shorter than the input")


def _run(call: Call, steps: Sequence[Value], direction: int) -> tuple[list[Value], tuple[Value, Value]]:
    """One direction: the hidden value after every step, and both states at the end."""
    cell, w = _onnx_cell(call, direction)
    zeros = torch.zeros(1, w.size, dtype=call.dtype)
    given = call.optional("5"), call.optional("6")
    h, c = (zeros if state is None else state[direction] for state in given)
    state: tuple[Value, Value] = (h, c)
    found: list[Value] = []
    for x in steps:
        state = cell(call, x, *state, w)
        found.append(state[0])
    return found, state


def _onnx_cell(call: Call, direction: int) -> tuple[Cell, Weights]:
    """The cell, and its weights with gates in the order of torch."""
    cell, order, default = _ONNX_CELLS[call.operator]
    functions = call.get("activations")
    if functions is not None:
        per = len(default)
        own = tuple(functions[direction * per : (direction + 1) * per]) if isinstance(functions, list) else ()
        if call.operator == "RNN" and own == ("Relu",):
            cell = simple(LeakyReLU())
        elif own != default:
            raise call.unsupported(f"activations {functions}")
    if call.operator == "GRU" and not call.integer("linear_before_reset", 0):
        cell = _reset_first
    hidden = call.constant("2")[direction].shape[1]

    def ordered(p: Tensor) -> Tensor:
        return torch.cat([p[k * hidden : (k + 1) * hidden] for k in order])

    bias = call.optional("3")
    parts = (None, None) if bias is None else bias[direction].chunk(2)
    bias_x, bias_h = (None if p is None else ordered(p) for p in parts)
    return cell, Weights(
        ordered(call.constant("1")[direction]), ordered(call.constant("2")[direction]), bias_x, bias_h
    )


def _reset_first(call: Call, x: Value, h: Value, c: Value, w: Weights) -> tuple[Value, Value]:
    """A GRU whose reset gate acts before the product with the hidden value."""
    n = w.size
    from_x = _gates(call, _linear(call, x, w.inputs, w.bias_inputs), 3)
    bias = w.bias_hidden
    first = _linear(call, h, w.hidden[: 2 * n], None if bias is None else bias[: 2 * n])
    reset, update = (
        _through(call, Sigmoid(), _plus(call, a, b))
        for a, b in zip(from_x[:2], _gates(call, first, 2), strict=True)
    )
    held = _linear(call, _times(call, reset, h), w.hidden[2 * n :], None if bias is None else bias[2 * n :])
    new = _through(call, Tanh(), _plus(call, from_x[2], held))
    return _plus(call, new, _times(call, update, _minus(call, h, new))), c


def _stacked(call: Call, values: Sequence[Value], rank: int) -> Value:
    """Values (1, hidden) of the directions, on the last axis but two of as many as ``rank``."""
    raised: list[Value] = []
    for value in values:
        shape = [1] * (rank - 1) + [value.shape[-1]]
        raised.append(reshaped(call, value, shape) if isinstance(value, Ref) else value.reshape(shape))
    if all(isinstance(value, Tensor) for value in raised):
        return torch.cat([value for value in raised if isinstance(value, Tensor)], rank - 3)
    return joined(call, raised, rank - 3)
