"""Values that hold no batch axis in front: then a sample is all that a batch of one holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bounds.errors import Unsupported
from bounds.graph import Ref
from bounds.ops import Call
from bounds.ops.registry import Registry, Value, Values
from bounds.ops.shape import Reshape


@dataclass(frozen=True)
class Whole:
    """A value without a batch axis of its own: all of its axes belong to the sample."""

    ref: Ref


Found = Value | Whole | tuple[Value | Whole, ...]


def imported(registry: Registry, call: Call, single: bool) -> Found:
    """Import one call.

    Where that would touch the batch axis, but the front end knows a batch of one alone (``single``), the call
    is imported once more on whole values. A result that begins with an axis of one counts as batched again:
    one sample of its shape and the front end's value are the same numbers.
    """
    refused: Unsupported | None = None
    if not any(isinstance(value, Whole) for value in flat(list(call.args.values()))):
        try:
            return registry.run(call)
        except Unsupported as error:
            if not single:
                raise
            refused = error
    whole = replace(call, batched=False, args={k: _whole(call, v) for k, v in call.args.items()})
    try:
        return _settled(whole, registry.run(whole))
    except Unsupported as error:
        raise refused or error from None


def flat(values: object) -> Iterator[object]:
    """All values in lists and tuples, however nested."""
    if isinstance(values, list | tuple):
        for value in values:
            yield from flat(value)
    else:
        yield values


def _whole(call: Call, value: object) -> object:
    if isinstance(value, list | tuple):
        return [_whole(call, v) for v in value]
    if isinstance(value, Whole):
        return value.ref
    return call.apply(Reshape((1, *value.shape)), value) if isinstance(value, Ref) else value


def _settled(call: Call, values: Values) -> Found:
    if isinstance(values, tuple):
        return tuple(_one(call, value) for value in values)
    return _one(call, values)


def _one(call: Call, value: Value) -> Value | Whole:
    if not isinstance(value, Ref):
        return value
    if value.shape[:1] == (1,):
        return call.apply(Reshape(value.shape[1:]), value)
    return Whole(value)
