"""Padding in all its modes: with a constant, or with copies of what is inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from bounds.graph import Ref
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.slicing import padded, sliced

# What numpy.pad calls the modes of torch and ONNX.
_MODES: Mapping[str, Literal["reflect", "edge", "wrap"]] = {
    "reflect": "reflect",
    "replicate": "edge",
    "edge": "edge",
    "circular": "wrap",
    "wrap": "wrap",
}


def _around(call: Call, x: Ref, pads: Mapping[int, tuple[int, int]], mode: str, value: float) -> Ref:
    """Padding of the axes named in ``pads``; a negative width crops."""
    if mode == "constant":
        return padded(call, x, pads, value)
    if mode not in _MODES:
        raise call.unsupported(f"padding mode {mode!r}")
    for axis, (before, after) in pads.items():
        size = call.full_shape(x)[axis]
        kept = np.arange(size)[max(0, -before) : size - max(0, -after)]
        if not len(kept):
            raise call.unsupported("it leaves nothing")
        index = np.pad(kept, (max(0, before), max(0, after)), _MODES[mode])
        x = sliced(call, x, axis, index.tolist())
    return x


@from_torch(
    "aten::pad",
    "aten::constant_pad_nd",
    *(f"aten::{mode}_pad{n}d" for mode in ("reflection", "replication") for n in (1, 2, 3)),
)
def _pad(call: Call) -> Value:
    named = {"reflection": "reflect", "replication": "replicate"}
    kind = call.operator.removeprefix("aten::").partition("_")[0]
    x, widths = call.ref("self"), call.integers("pad" if "pad" in call.args else "padding")
    rank = len(call.full_shape(x))
    pads = {rank - 1 - i: (widths[2 * i], widths[2 * i + 1]) for i in range(len(widths) // 2)}
    mode = named.get(kind, str(call.get("mode", "constant")))
    return _around(call, x, pads, mode, call.number("value", 0.0))


@from_onnx("Pad")
def _onnx_pad(call: Call) -> Value:
    x, widths = call.ref("0"), call.integers("1" if "1" in call.args else "pads")
    rank = len(call.full_shape(x))
    axes = [axis % rank for axis in call.integers("3", tuple(range(len(widths) // 2)))]
    pads = {axis: (widths[i], widths[i + len(axes)]) for i, axis in enumerate(axes)}
    value = call.number("2" if call.args.get("2") is not None else "value", 0.0)
    return _around(call, x, pads, str(call.get("mode", "constant")), value)
