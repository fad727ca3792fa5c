"""Scaled dot-product attention: averages of values, weighted by the softmax of scores."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Builder, Ref
from bounds.interval import Interval
from bounds.kinds import Composite, Tensors
from bounds.ops.centre import Centre, mean
from bounds.ops.elementwise import Add, Scale, Shift
from bounds.ops.gather import Expand
from bounds.ops.product import Contraction, contracted, matrix_product
from bounds.ops.registry import Call, Value, as_parameter, from_torch
from bounds.ops.softmax import Softmax


@dataclass(frozen=True)
class Attend(Composite):
    """``softmax(scores) @ values`` over the last two axes; the axes in front are the same.

    params: optionally a mask of the scores' shape, zero where a position counts as minus infinity.
    """

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        scores, values = xs
        return Softmax(scores.dim() - 2).value((scores,), params) @ values

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        """The mean of the values, plus the average of what each of them has more: weights sum to one."""
        scores, values = xs
        axis = len(scores.shape) - 1
        weights = builder.apply(Softmax(axis), (scores,), params, name)
        front = string.ascii_letters[3 : 3 + axis - 1]
        over = builder.apply(Centre((axis - 1,)), (values,), (), name)
        here = builder.apply(Contraction(f"{front}ab,{front}bc->{front}ac"), (weights, over), (), name)
        common = builder.apply(Expand(here.shape), (mean(builder, values, (axis - 1,), name),), (), name)
        return builder.apply(Add(), (here, common), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        """An average lies between the least and the greatest value."""
        scores, values = xs
        shape = (*scores.lower.shape[:-1], values.lower.shape[-1])
        lower, upper = values.lower.amin(-2, keepdim=True), values.upper.amax(-2, keepdim=True)
        return Interval(lower.expand(shape), upper.expand(shape))


def averaged(call: Call, weights: Ref, values: Ref) -> Ref:
    """``weights @ values``; weights that come out of a softmax are known to sum to one."""
    node = call.builder.node(weights)
    same_front = weights.shape[:-2] == values.shape[:-2] and len(weights.shape) >= 2
    if isinstance(node.op, Softmax) and node.op.axis == len(weights.shape) - 1 and same_front:
        return call.apply(Attend(), call.builder.ref(node.inputs[0]), values, params=node.params)
    return matrix_product(call, weights, values)


@from_torch("aten::scaled_dot_product_attention")
def _attention(call: Call) -> Value:
    query, key, value = (call.ref(name) for name in ("query", "key", "value"))
    if call.number("dropout_p", 0.0) != 0 or bool(call.get("enable_gqa", False)):
        raise call.unsupported("dropout or grouped queries")
    front = string.ascii_letters[3 : 3 + len(call.full_shape(query)) - 2]
    scores = contracted(call, query, key, f"{front}ac,{front}bc->{front}ab")
    scale = call.number("scale", query.shape[-1] ** -0.5)
    scores = call.apply(Scale(), scores, params=(torch.tensor(scale, dtype=call.dtype),))
    mask = call.optional("attn_mask")
    if bool(call.get("is_causal", False)):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    scores, params = _masked(call, scores, mask)
    return call.apply(Attend(), scores, value, params=params)


def _masked(call: Call, scores: Ref, mask: Tensor | None) -> tuple[Ref, Tensors]:
    """The scores with the finite part of a mask added, and which of them count."""
    if mask is None:
        return scores, ()
    if mask.is_floating_point():
        held, finite = mask != -torch.inf, mask.masked_fill(mask == -torch.inf, 0.0)
        if bool(finite.any()):
            scores = call.apply(Shift(), scores, params=(as_parameter(call, finite, scores.shape),))
    else:
        held = mask != 0
    if bool(held.all()):
        return scores, ()
    if not bool(held.any(-1).all()):
        raise call.unsupported("a mask that leaves a query without any key")
    held = as_parameter(call, held.to(call.dtype), scores.shape).expand(scores.shape)
    return scores, (held,)
