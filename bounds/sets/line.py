"""Perturbations with one parameter, cut by the valid range: brightness, contrast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.rounding import U32, U64, gamma
from bounds.sets.base import InputSet, check_finite, check_range, clamp_inside, cushioned

_UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: U32, torch.float64: U64}
_CHUNK = 2**20  # elements of temporaries


@dataclass(frozen=True, eq=False)
class Line(InputSet):
    """All points ``clip(center + t direction) + e`` in the range, ``lower <= t <= upper``, ``|e| <= slack``.

    A segment that bends wherever an element reaches an end of the range: as a function of t everything is
    piecewise linear (or quadratic) with two bends per element, so that support and nearest points are exact.
    Brightness is the direction of ones, contrast that of ``center - mean``. A float point hardly ever lies on
    a line, so the set is as thick as rounding asks for: by default ``slack`` is 32 rounding units of the
    dtype at the largest element, and 0 where the ends of t are.

    center: (batch, *shape) inside ``clip``. direction: (batch, *shape). lower <= 0 <= upper and
    slack >= 0: (batch,) float64. clip: the valid range, (-inf, inf) for none.
    Raises ``InvalidInput`` for other shapes, NaN or Inf, a center outside ``clip``, ends on one side of zero.
    """

    center: Tensor
    direction: Tensor
    lower: Tensor
    upper: Tensor
    clip: tuple[float, float] = (-math.inf, math.inf)
    slack: Tensor | None = None
    _slack: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_finite("the center of a line", self.center)
        check_finite("the direction of a line", self.direction)
        check_range(self.center, self.clip)
        batch = (len(self.center),)
        if self.direction.shape != self.center.shape or self.direction.dtype != self.center.dtype:
            raise InvalidInput(f"the direction of a line differs from its center, {tuple(self.center.shape)}")
        for name, each in (("lower", self.lower), ("upper", self.upper), ("slack", self.slack)):
            if each is not None and (each.shape != batch or each.dtype is not torch.float64):
                raise InvalidInput(f"{name} of a line is not {batch} numbers in float64")
        if not bool(((self.lower <= 0) & (self.upper >= 0) & (self.upper - self.lower).isfinite()).all()):
            raise InvalidInput("the ends of a line do not lie on both sides of zero; move its center inside")
        if self.slack is not None and not bool((self.slack >= 0).all()):
            raise InvalidInput("slack of a line is not >= 0")
        slack = self._least_slack() if self.slack is None else self.slack
        object.__setattr__(self, "_slack", slack)

    def _least_slack(self) -> Tensor:
        return torch.where(self._reach > 0, self._thickness(self.center.dtype), 0)

    def _thickness(self, dtype: torch.dtype) -> Tensor:
        """What rounding to a dtype asks for; (batch,)."""
        return 32 * _UNIT[dtype] * self._magnitude().amax(1)

    @property
    def _reach(self) -> Tensor:
        """The largest size of t; (batch,)."""
        return torch.maximum(-self.lower, self.upper)

    def _magnitude(self) -> Tensor:
        """An upper bound of what the terms of each element add up to in size; (batch, d)."""
        center, direction = self.center.double().flatten(1), self.direction.double().flatten(1)
        return center.abs() + direction.abs() * self._reach[:, None]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.center.shape[1:])

    def __len__(self) -> int:
        return len(self.center)

    @property
    def is_box(self) -> bool:
        return bool((self._reach == 0).all())

    @property
    def is_convex(self) -> bool:
        """A clipped segment is none; also where nothing is clipped, its thickness is no room to move in."""
        return self.is_box

    def box(self) -> Interval:
        ends = self._exact(self.lower), self._exact(self.upper)
        cushion = self._slack[:, None] + 4 * U64 * self._magnitude() * (self._reach[:, None] > 0)
        low, high = torch.minimum(*ends), torch.maximum(*ends)
        wide = Interval(low, high).widened(cushion)
        still = (cushion == 0) & (low == high)
        lower, upper = torch.where(still, low, wide.lower), torch.where(still, high, wide.upper)
        box = Interval(lower.clamp(*self.clip), upper.clamp(*self.clip)).outward(self.center.dtype)
        return Interval(box.lower.view_as(self.center), box.upper.view_as(self.center))

    def _exact(self, t: Tensor) -> Tensor:
        """``clip(center + t direction)`` in float64; t: (batch,), returns (batch, d)."""
        moved = self.center.double().flatten(1) + t[:, None] * self.direction.double().flatten(1)
        return moved.clamp(*self.clip)

    def _bends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where elements begin and cease to move as t grows: places, ascending, and what bends there.

        Returns the places (batch, 2 d), float64 within the ends of t; the element (batch, 2 d); and 1 where
        it begins, -1 where it ceases.
        """
        center, direction = self.center.double().flatten(1), self.direction.double().flatten(1)
        still = direction == 0
        step = torch.where(still, 1, direction)
        first, second = ((end - center) / step for end in self.clip)
        low, high = self.lower[:, None], self.upper[:, None]
        begin = torch.minimum(first, second).clamp(low, high)
        cease = torch.maximum(first, second).clamp(low, high)
        places, order = torch.cat([begin, cease], dim=1).sort(dim=1)
        d = center.shape[1]
        return places, order % d, 1.0 - 2.0 * (order >= d)

    def _best(self, rows: Tensor, samples: Tensor) -> Tensor:
        """The t where ``row . point`` is largest; rows: (samples, rows, d), returns (samples, rows)."""
        places, element, sign = (each[samples] for each in self._bends())
        direction = self.direction.double().flatten(1)[samples]
        steps = torch.nn.functional.pad(places.diff(dim=1), (1, 0))[:, None]
        found = []
        for part in torch.split(rows, max(1, _CHUNK // max(1, places.numel())), dim=1):
            gain = (part.double() * direction[:, None]).gather(
                2, element[:, None].expand(-1, part.shape[1], -1)
            )
            slope = torch.nn.functional.pad((gain * sign[:, None]).cumsum(2)[:, :, :-1], (1, 0))
            found.append((slope * steps).cumsum(2).argmax(2))
        best: Tensor = places.gather(1, torch.cat(found, dim=1))
        return best

    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        """Exact: the best of all bends and ends."""
        rows = a.flatten(2)
        with torch.no_grad():
            t = self._best(rows, samples)[:, :, None].to(a)
        center, direction = (
            each.flatten(1)[samples][:, None].to(a) for each in (self.center, self.direction)
        )
        points = (center + t * direction).clamp(*self.clip)
        value: Tensor = torch.linalg.vecdot(rows, points) + rows.abs().sum(2) * self._slack[samples][
            :, None
        ].to(a)
        if not rounded:
            return value
        # The best bend is found by sums of 2 d slopes times steps, each at most twice an element's magnitude.
        size = (self._magnitude() + self._slack[:, None])[samples][:, :, None]
        scale = 16 * (rows.abs() @ size).squeeze(2)
        return cushioned(value, scale, 4 * rows.shape[2] + 40, rounded, floor=float(self._reach.max()))

    def argmax(self, a: Tensor) -> Tensor:
        every = torch.arange(len(self), device=a.device)
        return self._at(self._best(a.flatten(1)[:, None], every)[:, 0])

    def project(self, z: Tensor) -> Tensor:
        return self._at(self._nearest(z.double().flatten(1)))

    def _at(self, t: Tensor) -> Tensor:
        """The point at each t; the center where rounding takes it out of the set."""
        z = clamp_inside(self._exact(t).to(self.center.dtype), self.clip).view_as(self.center)
        return torch.where(self.contains(z).view(-1, *[1] * len(self.shape)), z, self.center)

    def _nearest(self, z: Tensor) -> Tensor:
        """The t of a nearest point: the squared distance is a parabola between two bends; (batch,)."""
        places, element, sign = self._bends()
        direction = self.direction.double().flatten(1)
        weights = direction.square(), direction * (z - self.center.double().flatten(1))
        square, product = ((w.gather(1, element) * sign).cumsum(1)[:, :-1] for w in weights)
        start, end = places[:, :-1], places[:, 1:]
        t = torch.minimum(torch.maximum(product / square.clamp(min=1e-300), start), end)

        def change(to: Tensor) -> Tensor:
            return (to - start) * (square * (to + start) - 2 * product)

        before = torch.nn.functional.pad(change(end).cumsum(1)[:, :-1], (1, 0))
        best = (before + change(t)).argmin(1, keepdim=True)
        nearest: Tensor = t.gather(1, best)[:, 0]
        return nearest

    def contains(self, z: Tensor) -> Tensor:
        wide, center = z.double().flatten(1), self.center.double().flatten(1)
        slack, direction = self._slack[:, None], self.direction.double().flatten(1)
        low, high = self.clip
        least = torch.where(wide - slack <= low, -torch.inf, wide - slack) - center
        most = torch.where(wide + slack >= high, torch.inf, wide + slack) - center
        still = direction == 0
        step = torch.where(still, 1, direction)
        ends = least / step, most / step
        begin = torch.where(still, -torch.inf, torch.minimum(*ends)).amax(1)
        cease = torch.where(still, torch.inf, torch.maximum(*ends)).amin(1)
        far = 1 + 2 * self._reach  # in place of infinity
        t = torch.lerp(torch.maximum(begin, -far), torch.minimum(cease, far), 0.5)
        t = torch.minimum(torch.maximum(t, self.lower), self.upper)
        error = gamma(4, U64) * (wide.abs() + self._magnitude())
        near = ((wide - self._exact(t)).abs() + error <= slack).all(1) | (wide == center).all(1)
        return near & ((wide >= low) & (wide <= high)).all(1)

    def to(self, dtype: torch.dtype) -> Line:
        """In a narrower dtype the slack grows by what rounding center and direction may cost."""
        center, direction = clamp_inside(self.center.to(dtype), self.clip), self.direction.to(dtype)
        narrower = torch.finfo(dtype).eps > torch.finfo(self.center.dtype).eps
        slack = self._slack + narrower * self._thickness(dtype)
        return Line(center, direction, self.lower, self.upper, self.clip, slack)

    def __getitem__(self, samples: slice | Tensor) -> Line:
        return Line(
            self.center[samples],
            self.direction[samples],
            self.lower[samples],
            self.upper[samples],
            self.clip,
            self._slack[samples],
        )
