"""What attacks know of the norms 0, 1, 2 and inf: sizes, projections and steps, per sample.

Steps and gradients are (batch, *shape) unless said otherwise; radii and sizes are (batch,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import bounds

NORMS = (0, 1, 2, math.inf)
DUAL = {1: math.inf, 2: 2, math.inf: 1}

# Each round of Newton's method settles at least one more coordinate; nearly all samples need fewer than ten.
_ROUNDS = 100


def distance(delta: Tensor, norm: float) -> Tensor:
    """The norm of each sample's change, in float64; 0 counts the elements that changed. (batch,)"""
    return size(delta.double(), norm)


def size(delta: Tensor, norm: float) -> Tensor:
    """The norm of each sample's step in its own dtype; 0 counts the elements that are not zero."""
    flat = delta.flatten(1)
    if flat.shape[1] == 0:
        return flat.new_zeros(len(flat))
    if norm == math.inf:
        return flat.abs().amax(1)  # the library's norm is several times slower
    result: Tensor = torch.linalg.vector_norm(flat, ord=norm, dim=1)
    return result


def wide(values: Tensor) -> Tensor:
    """In float32 at least, for steps that half precision would spoil."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """One number per sample, shaped to be broadcast over steps."""
    return values.view(-1, *[1] * (like.dim() - 1))


def directions(gradient: Tensor) -> Tensor:
    """Gradients of Euclidean norm 1; 0 stays 0. Safe where the square of a gradient under- or overflows."""
    tiny = torch.finfo(gradient.dtype).tiny
    scaled = gradient / per_sample(size(gradient, math.inf).clamp(min=tiny), gradient)
    return scaled / per_sample(size(scaled, 2).clamp(min=tiny), gradient)


def project(step: Tensor, radius: Tensor, norm: float) -> Tensor:
    """The nearest step within each sample's radius; for 0 the largest elements stay (radius rounded down)."""
    flat, limit = step.flatten(1), radius.to(step.dtype)[:, None].clamp(min=0)
    if norm == math.inf:
        kept = flat.clamp(-limit, limit)
    elif norm == 2:
        length = size(flat, 2)[:, None]
        kept = torch.where(
            length > limit, flat * (limit / length.clamp(min=torch.finfo(flat.dtype).tiny)), flat
        )
    elif norm == 1:
        kept = flat.sign() * (flat.abs() - _threshold(flat.abs(), limit)).clamp(min=0)
    else:
        kept = _largest(flat, limit)
    return kept.view_as(step)


def _threshold(sizes: Tensor, limit: Tensor) -> Tensor:
    """The least threshold >= 0 with ``sum (size - threshold)+ <= limit``; (rows, 1).

    Newton's method from below on a convex, falling, piecewise linear function (Michelot 1986): the threshold
    only rises, and is exact after finitely many rounds.
    """
    now = torch.zeros_like(limit)
    for _ in range(_ROUNDS):
        over = (sizes - now).clamp(min=0)
        count = (over > 0).sum(1, keepdim=True).clamp(min=1)
        more = now + (over.sum(1, keepdim=True) - limit) / count
        if not bool((more > now).any()):
            break
        now = torch.maximum(now, more)
    return now


def _largest(flat: Tensor, limit: Tensor) -> Tensor:
    """The largest elements, as many as the limit says; ties are broken by position."""
    places = flat.abs().argsort(dim=1, descending=True, stable=True)
    rank = torch.arange(flat.shape[1], device=flat.device).expand_as(flat)
    kept = torch.zeros_like(flat, dtype=torch.bool).scatter(1, places, rank < limit.floor())
    return torch.where(kept, flat, 0)


def to_plane(gradient: Tensor, change: Tensor, lower: Tensor, upper: Tensor, norm: float) -> Tensor:
    """The shortest step of norm 1, 2 or inf with ``gradient . step = change`` and ``lower <= step <= upper``.

    The projection onto a hyperplane within a box (Croce & Hein 2020, eq. 3), exact. lower <= 0 <= upper.
    Where the plane is out of reach, the step that comes closest to it; where the gradient is 0, no step.
    """
    rows = gradient.flatten(1)
    scale = rows.abs().amax(1, keepdim=True)
    usable = (scale > 0) & change[:, None].isfinite()
    scale = torch.where(scale > 0, scale, 1)
    need = torch.where(usable, change.to(rows.dtype)[:, None] / scale, 0)
    sign = torch.where(need < 0, -1, 1) * rows.sign()
    slope = rows.abs() / scale
    room = torch.where(sign > 0, upper.flatten(1), -lower.flatten(1)).clamp(min=0)
    move = _spend(slope, room, need.abs()) if norm == 1 else _sweep(slope, room, need.abs(), norm)
    return torch.where(usable, sign * move, 0).view_as(gradient)


def nearest_plane(gradients: Tensor, values: Tensor, norm: float) -> Tensor:
    """The clause that a linear model breaks first: the least ``|value| / |gradient|`` in the dual norm.

    gradients: (batch, clauses, *shape); values and result: (batch, clauses), (batch,).
    """
    steep = torch.linalg.vector_norm(gradients.flatten(2).double(), ord=DUAL[norm], dim=2)
    away = values.double().abs() / steep
    return torch.where(steep > 0, away, torch.inf).argmin(1)


def _spend(slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Whole rooms of the steepest coordinates first, then a part of one: a continuous knapsack; (rows, d)."""
    order = slope.argsort(dim=1, descending=True, stable=True)
    steep, most = slope.gather(1, order), room.gather(1, order)
    gained = (steep * most).cumsum(1) - steep * most
    part = (need - gained).clamp(min=0) / steep.clamp(min=torch.finfo(slope.dtype).tiny)
    return torch.zeros_like(slope).scatter(1, order, torch.minimum(part, most))


def _sweep(slope: Tensor, room: Tensor, need: Tensor, norm: float) -> Tensor:
    """``min(t speed, room)`` with the least t whose gain is enough; speed 1 for the norm inf, slope for 2.

    The gain is concave and piecewise linear in t, so that Newton's method from 0 rises to the root.
    """
    now, active = torch.zeros_like(need), torch.arange(len(need), device=need.device)
    some, most, lacking = slope, room, need
    for _ in range(_ROUNDS):
        t = now[active]
        wanted = t if norm == math.inf else t * some  # where the slope is 0, nothing is gained in any case
        gain = some if norm == math.inf else some.square()
        free = torch.linalg.vecdot(gain, (wanted < most).to(gain))[:, None]
        short = lacking - torch.linalg.vecdot(some, torch.minimum(wanted, most))[:, None]
        more = t + torch.where(free > 0, short / free, 0)
        rising = (more > t * (1 + 4 * torch.finfo(t.dtype).eps))[:, 0]
        if not bool(rising.any()):
            break
        if bool(rising.all()):
            now = now.index_copy(0, active, more)
        else:
            active, some, most, lacking = active[rising], some[rising], most[rising], lacking[rising]
            now = now.index_copy(0, active, more[rising])
    speed = (slope > 0).to(slope) if norm == math.inf else slope
    return torch.minimum(now * speed, room)


def steepest(region: bounds.InputSet, gradient: Tensor) -> Tensor:
    """``half_way``, but in a ball of the norm 2 of the whole ball, whatever a range cuts off.

    The gradient's direction, that is: a part's own half way would not end at its best point.
    """
    if isinstance(region, bounds.Ball) and region.norm == 2:
        return directions(gradient) * region.eps
    return half_way(region, gradient)


def half_way(region: bounds.InputSet, gradient: Tensor) -> Tensor:
    """Half the way from the worst to the best point of a convex region for a linear model.

    In an unclipped ball of radius eps: eps times the gradient's sign for the norm inf, its direction for 2,
    its largest coordinate for 1. Gradient and result: (batch, *shape).
    """
    if isinstance(region, bounds.Box):  # the same as below, without a look for the middle
        return gradient.sign() * ((region.upper - region.lower) / 2)
    return (region.argmax(gradient) - region.argmax(-gradient)) / 2


def floats_of(region: bounds.InputSet) -> bounds.InputSet:
    """The same points of the region's dtype; a box as a box, onto which is projected by two comparisons."""
    if not region.is_box or isinstance(region, bounds.Box):
        return region
    box = region.box()
    return bounds.Box(region.project(box.lower), region.project(box.upper))
