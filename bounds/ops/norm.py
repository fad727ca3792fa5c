"""Batch normalisation with the running statistics of evaluation mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.standardise import grouped


@dataclass(frozen=True)
class BatchNorm(Affine):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel, the first axis of a sample.

    params: weight, bias, mean, var, each (channels,). axes: how many axes follow the channels.
    It is kept as it is rather than folded into its neighbour, whose rounded weights would be another network.
    """

    elementwise: ClassVar[bool] = True
    eps: float
    axes: int

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0] * weights[0]

    def weights(self, params: Tensors) -> Tensors:
        return (self._spread(self._scale(params)),)

    def offset(self, params: Tensors) -> Tensor | None:
        _, bias, mean, _ = params
        return self._spread(bias - mean * self._scale(params))

    def offset_magnitude(self, params: Tensors) -> Tensor | None:
        """|bias| + |mean| |scale|: the two may cancel, so that the offset itself does not say its error."""
        _, bias, mean, _ = params
        return self._spread(bias.abs() + mean.abs() * self._scale(params).abs())

    def _scale(self, params: Tensors) -> Tensor:
        return params[0] / (params[3] + self.eps).sqrt()

    def _spread(self, x: Tensor) -> Tensor:
        """A number per channel, shaped to broadcast over a sample."""
        return x.reshape(-1, *[1] * self.axes)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """Three roundings make the scale, three more the offset; then a product and a sum."""
        return prod(out) + 12

    def fan_out(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 1

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 10

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows * weights[0],)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        channel = unit.index // prod(out[1:])
        return (Unit(unit.index, unit.sign * weights[0].flatten()[channel], unit.shape),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        return (Patch(patch.data * weights[0], patch.top, patch.left, patch.shape),)


@from_torch("aten::_native_batch_norm_legit_no_training")
def _legit_batch_norm(call: Call) -> tuple[Value, ...]:
    return (_running(call),)


@from_torch("aten::instance_norm")
def _instance_norm(call: Call) -> Value:
    if bool(call.get("use_input_stats")):
        x = call.ref("input")
        weights = call.optional("weight"), call.optional("bias")
        return grouped(
            call, x, x.shape[0], *weights, float(torch.tensor(call.number("eps"), dtype=call.dtype))
        )
    return _running(call)


def _running(call: Call) -> Value:
    """The torch forms by the running statistics."""
    mean, var = call.constant("running_mean"), call.constant("running_var")
    weight, bias = call.optional("weight"), call.optional("bias")
    params = (
        torch.ones_like(mean) if weight is None else weight,
        torch.zeros_like(mean) if bias is None else bias,
        mean,
        var,
    )
    return _normalised(call, "input", params, call.number("eps"))


@from_onnx("BatchNormalization")
def _onnx_batch_norm(call: Call) -> Value:
    if call.integer("training_mode", 0):
        raise call.unsupported("training mode", "export the model in evaluation mode")
    if not call.integer("spatial", 1):
        raise call.unsupported("statistics per element (spatial = 0)")
    params = tuple(call.constant(str(i)) for i in range(1, 5))
    return _normalised(call, "0", params, call.number("epsilon", 1e-5))


def _normalised(call: Call, key: str, params: Tensors, eps: float) -> Value:
    x = call.ref(key)
    if not call.batched or not x.shape or x.shape[0] != len(params[2]):
        raise call.unsupported(f"{len(params[2])} channels expected, but a sample has shape {x.shape}")
    rounded = float(torch.tensor(eps, dtype=call.dtype))
    if not bool((params[3] + rounded > 0).all()):
        raise call.unsupported("a variance that is not positive")
    return call.apply(BatchNorm(rounded, len(x.shape) - 1), x, params=params)
