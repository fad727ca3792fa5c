"""Low-dimensional perturbations: a center moved along a few directions."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.rounding import U32, U64, gamma, up
from bounds.sets.base import InputSet, check_finite, cushioned

_SWEEPS = 1000
_UNIT = {torch.float32: U32, torch.float64: U64}


@dataclass(frozen=True, eq=False)
class Subspace(InputSet):
    """All points ``center + sum_j t_j basis_j + e`` with ``lower <= t <= upper`` and ``|e| <= slack``.

    Brightness is the direction of ones, contrast that of ``center - mean``; principal components give
    low-rank noise. A float point hardly ever lies on a plane, so the set is the plane's piece made as thick
    as rounding asks for: by default ``slack`` is eight rounding units of the dtype of ``center``, at the
    largest coordinate. ``support`` and ``box`` include it, so membership needs no further tolerance.
    ``contains`` takes the nearest ``t`` and accepts a point only if the rest is provably within ``slack``;
    between nearly dependent directions it may refuse a member. There is no ``clip``: choose ends that stay
    in range.

    center: (batch, *shape). basis: (batch or 1, directions, *shape). lower <= 0 <= upper: (batch or 1,
    directions). slack: (batch,) in float64, >= 0. All but slack have one dtype, float32 or float64.
    Raises ``InvalidInput`` for other shapes or dtypes, NaN or Inf, or ends on one side of zero.
    """

    center: Tensor
    basis: Tensor
    lower: Tensor
    upper: Tensor
    slack: Tensor | None = None
    _slack: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tensors = {"center": self.center, "basis": self.basis, "lower": self.lower, "upper": self.upper}
        for name, each in tensors.items():
            check_finite(f"{name} of a subspace set", each)
            if each.dtype != self.center.dtype or each.dtype not in _UNIT:
                raise InvalidInput(
                    f"{name} of a subspace set is {each.dtype}; give all in float32 or float64"
                )
        batch, directions = len(self.center), self.basis.shape[1]
        wanted = {"basis": (directions, *self.shape), "lower": (directions,), "upper": (directions,)}
        for name, shape in wanted.items():
            found = tuple(tensors[name].shape)
            if found not in {(batch, *shape), (1, *shape)}:
                raise InvalidInput(f"{name} of a subspace set has shape {found}; give {(batch, *shape)}")
        if ((self.lower > 0) | (self.upper < 0)).any():
            raise InvalidInput("the ends of a subspace set lie on one side of zero; move its center inside")
        slack = self._least_slack() if self.slack is None else self.slack
        if slack.shape != (batch,) or slack.dtype is not torch.float64 or not bool((slack >= 0).all()):
            raise InvalidInput(f"slack of a subspace set is not ({batch},) numbers >= 0 in float64")
        object.__setattr__(self, "_slack", slack)

    def _least_slack(self) -> Tensor:
        unit = _UNIT[self.center.dtype]
        return 8 * (unit + gamma(self.basis.shape[1] + 4, U64)) * self._magnitude().amax(1)

    def _magnitude(self) -> Tensor:
        """An upper bound of what the terms of each coordinate add up to in size; (batch, d)."""
        _, basis, lower, upper = self._wide()
        reach = torch.maximum(lower.abs(), upper.abs())[:, :, None]
        return self.center.double().flatten(1).abs() + (basis.abs() * reach).sum(1)

    def _wide(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Center (batch, d), basis (batch, directions, d) and the ends (batch, directions) in float64."""
        batch = len(self.center)
        basis, lower, upper = (
            each.double().expand(batch, *each.shape[1:]) for each in (self.basis, self.lower, self.upper)
        )
        return self.center.double().flatten(1), basis.flatten(2), lower, upper

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.center.shape[1:])

    def __len__(self) -> int:
        return len(self.center)

    @property
    def is_box(self) -> bool:
        return False

    def box(self) -> Interval:
        centre, basis, lower, upper = self._wide()
        ends = basis * lower[:, :, None], basis * upper[:, :, None]
        low, high = (centre + pick(*ends).sum(1) for pick in (torch.minimum, torch.maximum))
        cushion = self._slack[:, None] + gamma(basis.shape[1] + 6, U64) * self._magnitude() + 2.0**-500
        box = Interval(low, high).widened(up(cushion)).outward(self.center.dtype)
        return Interval(box.lower.view_as(self.center), box.upper.view_as(self.center))

    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        """Exact: a box in the coordinates along the directions."""
        rows, centre = a.flatten(2), self.center.flatten(1)[samples][:, :, None]
        basis, lower, upper = (
            each if len(each) == 1 else each[samples]
            for each in (self.basis.flatten(2), self.lower, self.upper)
        )
        along = rows @ basis.mT
        ends = along.clamp(min=0) @ upper[:, :, None] + along.clamp(max=0) @ lower[:, :, None]
        slack = self._slack[samples][:, None].to(a)
        value = (rows @ centre + ends).squeeze(2) + rows.abs().sum(2) * slack
        if not rounded:
            return value
        size = (self._magnitude() + self._slack[:, None])[samples][:, :, None]
        reach = float(torch.maximum(self.upper, -self.lower).max())
        terms = rows.shape[2] + basis.shape[1] + 12
        return cushioned(value, (rows.abs() @ size).squeeze(2), terms, rounded, floor=reach)

    def argmax(self, a: Tensor) -> Tensor:
        _, basis, lower, upper = self._wide()
        along = (basis @ a.double().flatten(1)[:, :, None]).squeeze(2)
        return self._at(torch.where(along > 0, upper, torch.where(along < 0, lower, 0)))

    def project(self, z: Tensor) -> Tensor:
        return self._at(self._nearest(z))

    def _at(self, t: Tensor) -> Tensor:
        """The point at some coordinates; the center where rounding takes it out of the set."""
        centre, basis, _, _ = self._wide()
        z = (centre + (t[:, None] @ basis).squeeze(1)).to(self.center.dtype).view_as(self.center)
        inside = self.contains(z).view(-1, *[1] * len(self.shape))
        return torch.where(inside, z, self.center)

    def _nearest(self, z: Tensor) -> Tensor:
        """The coordinates of a nearest point, by least squares in a box, one coordinate after the other."""
        centre, basis, lower, upper = self._wide()
        products = basis @ basis.mT
        wanted = (basis @ (z.double().flatten(1) - centre)[:, :, None]).squeeze(2)
        diagonal = products.diagonal(dim1=1, dim2=2)
        weight = torch.where(diagonal > 0, 1 / diagonal, 0)
        t = torch.zeros_like(lower)
        for _ in range(_SWEEPS):
            before = t.clone()
            for j in range(t.shape[1]):
                step = (wanted[:, j] - (products[:, j] * t).sum(1)) * weight[:, j]
                t[:, j] = torch.minimum(torch.maximum(t[:, j] + step, lower[:, j]), upper[:, j])
            if bool(((t - before).abs() <= 8 * U64 * (upper - lower)).all()):
                break
        return t

    def contains(self, z: Tensor) -> Tensor:
        centre, basis, _, _ = self._wide()
        wide = z.double().flatten(1)
        rest = (wide - centre - (self._nearest(z)[:, None] @ basis).squeeze(1)).abs()
        error = gamma(basis.shape[1] + 4, U64) * (wide.abs() + self._magnitude())
        near = rest + error <= self._slack[:, None] * (1 - 4 * U64)
        return near.all(1) | (wide == centre).all(1)

    def to(self, dtype: torch.dtype) -> Subspace:
        """In a narrower dtype the slack grows by what rounding center, directions and ends may cost."""
        center, basis, lower, upper = (
            each.to(dtype) for each in (self.center, self.basis, self.lower, self.upper)
        )
        narrower = torch.finfo(dtype).eps > torch.finfo(self.center.dtype).eps
        more = Subspace(center, basis, lower, upper)._slack if narrower else 0
        return Subspace(center, basis, lower, upper, self._slack + more)

    def __getitem__(self, samples: slice | Tensor) -> Subspace:
        basis, lower, upper = (
            each if len(each) == 1 else each[samples] for each in (self.basis, self.lower, self.upper)
        )
        return Subspace(self.center[samples], basis, lower, upper, self._slack[samples])
