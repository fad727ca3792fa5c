"""Files of a fixed batch of one may move or drop the batch axis; then a sample is the whole value."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bounds.errors import Unsupported
from bounds.graph import Ref
from bounds.ops import ONNX, Call
from bounds.ops.registry import Value
from bounds.ops.shape import Reshape


@dataclass(frozen=True)
class Whole:
    """A value without a batch axis of its own: all of its axes belong to the sample."""

    ref: Ref


def imported(call: Call, single: bool) -> tuple[Value | Whole, ...]:
    """Import one call.

    Where that would touch the batch axis, but the file knows a batch of one alone (``single``), the call is
    imported once more on whole values. A result that begins with an axis of one counts as batched again:
    one sample of its shape and the file's value are the same numbers.
    """
    refused: Unsupported | None = None
    if not any(isinstance(value, Whole) for value in call.args.values()):
        try:
            return _results(call)
        except Unsupported as error:
            if not single:
                raise
            refused = error
    whole = replace(call, batched=False, args={k: _whole(call, v) for k, v in call.args.items()})
    try:
        return tuple(_settled(whole, result) for result in _results(whole))
    except Unsupported as error:
        raise refused or error from None


def _results(call: Call) -> tuple[Value, ...]:
    results = ONNX.run(call)
    return results if isinstance(results, tuple) else (results,)


def _whole(call: Call, value: object) -> object:
    if isinstance(value, Whole):
        return value.ref
    return call.apply(Reshape((1, *value.shape)), value) if isinstance(value, Ref) else value


def _settled(call: Call, value: Value) -> Value | Whole:
    if not isinstance(value, Ref):
        return value
    if value.shape[:1] == (1,):
        return call.apply(Reshape(value.shape[1:]), value)
    return Whole(value)
