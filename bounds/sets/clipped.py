"""Lp balls cut by a range: linear functions and distances over ``|s|_p <= eps, 0 <= s <= room``.

By symmetry each coordinate moves in one direction only, so everything is asked about sizes: ``size = |a|``
and the ``room`` in the direction of the sign. The Lagrangian of the ball's constraint falls apart into
coordinates. Its value is an upper bound for every multiplier >= 0, so the multiplier needs no trust; at the
best one the bound is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bounds.sets.base import ENDLESS, farthest

# Elements worked on at once: temporaries stay small beside the rows, and near to the processor.
_CHUNK = 2**17
# Each step settles at least one more coordinate of every row; nearly all rows need fewer than ten.
_STEPS = 60
# Beyond these a square may over- or underflow: such rows forgo the ball's constraint.
_LEAST, _MOST = 2.0**-300, 2.0**300


def gain(a: Tensor, above: Tensor, below: Tensor, eps: float, norm: float) -> tuple[Tensor, Tensor]:
    """Upper bounds of ``max a . s`` over the steps of norm 1 or 2, and what their terms add up to in size.

    a: (samples, rows, d); above, below: (samples, d), the room upwards and downwards, at most eps; returns
    two tensors of shape (samples, rows). Exact up to rounding: each summand goes through d + 8 roundings
    relative to the second tensor.
    """
    samples, per_sample, d = a.shape
    rows_at_once = max(1, min(per_sample, _CHUNK // d))
    samples_at_once = max(1, _CHUNK // (d * rows_at_once))
    bound = _gain1 if norm == 1 else _gain2
    columns = []
    for first in range(0, samples, samples_at_once):
        some = slice(first, first + samples_at_once)
        ends = above[some, None], below[some, None]
        parts = [
            torch.stack(bound(rows, farthest(rows.detach(), *ends).abs(), eps))
            for start in range(0, per_sample, rows_at_once)
            for rows in (a[some, start : start + rows_at_once],)
        ]
        columns.append(torch.cat(parts, dim=2))
    value, scale = torch.cat(columns, dim=1)
    return value, scale


def _gain1(a: Tensor, room: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``price eps + sum room (|a| - price)+``: linear programming duality of the continuous knapsack."""
    size = a.abs()
    useful = torch.minimum(size, room * ENDLESS[a.dtype])
    price = _price(useful.flatten(0, 1), room.flatten(0, 1), eps).view(size.shape[:2])
    value = price * eps + torch.linalg.vecdot(room, (size - price[:, :, None]).clamp(min=0))
    return value, value


def _gain2(a: Tensor, room: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``t eps^2 + sum max over s in [0, room] of |a| s - t s^2``, with ``rate = 2 t``.

    The maximum is at ``s = min(room, |a| / rate)``. That ``s`` is off by a few roundings costs their square
    alone, because the derivative vanishes there: less than one rounding of the term.
    """
    size = a.abs()
    with torch.no_grad():
        norm = size.norm(dim=2, keepdim=True).clamp_min(_LEAST)
        quick = _rate((size / norm).float().flatten(0, 1), (room / eps).float().flatten(0, 1), 1.0)
        rate = quick.view(norm.shape).to(norm) * (norm / eps)
        rate = torch.where((rate > _LEAST) & (rate < _MOST) & (eps < _MOST), rate, 0)
        step = torch.minimum(room, size * torch.where(rate > 0, 1 / rate, 1))
        if not bool((rate > 0).all()):
            step = torch.where(rate > 0, step, room)
    half = rate / 2
    spent = half[:, :, 0] * min(eps, _MOST) ** 2
    value = torch.linalg.vecdot(step, torch.addcmul(size, step, half, value=-1)) + spent
    return value, 3 * value


def _price(size: Tensor, room: Tensor, eps: float, count: int = 1) -> Tensor:
    """The least size that the budget still pays for when it is spent on large sizes first; (rows,).

    size: 0 where there is no room.
    """
    count = min(count, size.shape[1])
    top, place = size.topk(count, dim=1)
    short = room.gather(1, place).cumsum(1) < eps
    price: Tensor = top.gather(1, short.sum(1, keepdim=True).clamp(max=count - 1)).squeeze(1)
    rest = short.all(1).nonzero()[:, 0]
    if len(rest) == 0:
        return price
    if count == size.shape[1]:
        return torch.where(short.all(1), 0, price)
    return price.index_put((rest,), _price(size[rest], room[rest], eps, 16 * count))


def _rate(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The rate >= 0 with ``|min(room, size / rate)|_2 = eps``; (rows,). 0 where all the room is in the ball.

    Newton's method on the squares, where the sum is concave and piecewise linear: coordinates that hit their
    room stay there and the others share what is left. The rate only falls, and is exact after finitely many
    steps.
    """
    square, most = size.square(), room.square()
    final = eps * eps / square.sum(1)
    active, now = torch.arange(len(size), device=size.device), final
    for _ in range(_STEPS):
        wanted = square * now[:, None]
        free = torch.linalg.vecdot(square, (wanted <= most).to(square))
        more = now + (eps * eps - torch.minimum(wanted, most).sum(1)) / free
        keep = more > now * (1 + 4 * torch.finfo(now.dtype).eps)
        if not bool(keep.any()):
            break
        active, now, square, most = active[keep], more[keep], square[keep], most[keep]
        final[active] = now
    return final.rsqrt()


def best_step(size: Tensor, room: Tensor, eps: float, norm: float) -> Tensor:
    """The step that maximises ``size . s``; all (rows, d)."""
    if norm == 1:
        order = size.argsort(dim=1, descending=True)
        ordered = room.gather(1, order)
        spent = (eps - (ordered.cumsum(1) - ordered)).clamp(min=0).minimum(ordered)
        return torch.zeros_like(size).scatter(1, order, spent)
    rate = _rate(size, room, eps)[:, None]
    return torch.where(size > rate * room, room, size / torch.where(rate > 0, rate, 1))


def nearest_step(size: Tensor, room: Tensor, eps: float, norm: float) -> Tensor:
    """The step nearest to ``size``, which is scaled for 2 and thresholded for 1; all (rows, d)."""
    if norm == 1:
        return torch.minimum((size - _threshold(size, room, eps)[:, None]).clamp(min=0), room)
    rate = _rate(size, room, eps).clamp_min(1)[:, None]
    return torch.minimum(size / rate, room)


def _threshold(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The least threshold >= 0 with ``sum min((size - threshold)+, room) <= eps``; (rows,).

    The sum is piecewise linear in the threshold (Duchi et al. 2008 without rooms): a coordinate joins at its
    size and stops at its size minus room. One sort of these places, falling, gives the sum at each.
    """
    one = torch.ones_like(size)
    places, order = torch.cat([size, (size - room).clamp(min=0)], dim=1).sort(dim=1, descending=True)
    moving = torch.cat([one, -one], dim=1).gather(1, order).cumsum(1)[:, :-1]
    total = torch.nn.functional.pad((moving * -places.diff(dim=1)).cumsum(1), (1, 0))
    over = total > eps
    last = over.to(torch.uint8).argmax(1, keepdim=True)
    slope = moving.gather(1, (last - 1).clamp(min=0)).clamp(min=1)
    threshold = places.gather(1, last) + (total.gather(1, last) - eps) / slope
    return torch.where(over.any(1), threshold.squeeze(1), 0)
