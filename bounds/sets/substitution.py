"""Word substitution: at some positions of a sequence, another vector of a finite list."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.sets.base import InputSet, check_finite, cushioned


@dataclass(frozen=True, eq=False)
class Substitution(InputSet):
    """All sequences that replace at most ``budget`` positions of ``center`` by one of their own choices.

    center: (batch, positions, dim), the vectors of the words as they are. choices: (batch, positions,
    choices, dim), the vectors that each may be replaced by. valid: (batch, positions, choices) booleans,
    which of them exist; all by default. budget: an integer >= 0; None lets every position change.
    Raises ``InvalidInput`` for shapes or dtypes that differ, another budget, NaN or Inf.
    """

    center: Tensor
    choices: Tensor
    valid: Tensor | None = None
    budget: int | None = None
    _words: Tensor = field(init=False, repr=False)
    """Per position the word as it is, then its choices; those that do not exist are the word once more."""

    def __post_init__(self) -> None:
        check_finite("the center of a substitution set", self.center)
        if self.center.dim() != 3:
            raise InvalidInput(
                f"the center of a substitution set has shape {tuple(self.center.shape)}; "
                "give (batch, positions, dim)"
            )
        batch, positions, dim = self.center.shape
        known = self.choices.shape[:2] == (batch, positions) and self.choices.shape[3:] == (dim,)
        if self.choices.dim() != 4 or not known or self.choices.dtype != self.center.dtype:
            raise InvalidInput(
                f"choices are {self.choices.dtype} {tuple(self.choices.shape)}; give {self.center.dtype} "
                f"({batch}, {positions}, choices, {dim})"
            )
        valid = self.valid
        if valid is not None and (valid.shape != self.choices.shape[:3] or valid.dtype is not torch.bool):
            raise InvalidInput(
                f"valid is {valid.dtype} {tuple(valid.shape)}; give booleans {tuple(self.choices.shape[:3])}"
            )
        if self.budget is not None and (self.budget != int(self.budget) or self.budget < 0):
            raise InvalidInput(
                f"budget is {self.budget}; give a number of positions, an integer >= 0, or None"
            )
        word = self.center[:, :, None]
        choices = self.choices if valid is None else torch.where(valid[..., None], self.choices, word)
        words = torch.cat([word, choices], dim=2)
        check_finite("the choices of a substitution set", words)
        object.__setattr__(self, "_words", words)

    @property
    def _most(self) -> int:
        """How many positions may change."""
        positions = self.center.shape[1]
        return positions if self.budget is None else min(int(self.budget), positions)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.center.shape[1:])

    def __len__(self) -> int:
        return len(self.center)

    @property
    def is_box(self) -> bool:
        return self._most == 0

    @property
    def is_convex(self) -> bool:
        return self.is_box

    def box(self) -> Interval:
        words = self._words if self._most else self._words[:, :, :1]
        return Interval(words.amin(2), words.amax(2))

    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        """Exact: the value of the words as they are, and the largest gains of ``budget`` positions."""
        words = self._words[samples]
        values = torch.einsum("srpd,spcd->srpc", a, words)
        gains = values.amax(3) - values[..., 0]
        most = gains.topk(self._most, dim=2).values.sum(2) if self._most else gains.sum(2) * 0
        value = values[..., 0].sum(2) + most
        if not rounded:
            return value
        # a gain is the difference of two products, so each magnitude counts three times
        scale = 3 * (a.flatten(2).abs() @ words.abs().amax(2).flatten(1)[:, :, None]).squeeze(2)
        return cushioned(value, scale, a[0, 0].numel() + 8, rounded)

    def _chosen(self, gains: Tensor) -> Tensor:
        """The sequences that take each position's word of largest gain, at the positions that gain most.

        gains: (batch, positions, 1 + choices), 0 for the word as it is.
        """
        gain, word = gains.max(dim=2)
        places = gain.topk(self._most, dim=1).indices
        changed = torch.zeros_like(gain, dtype=torch.bool).scatter(1, places, value=True) & (gain > 0)
        word = torch.where(changed, word, 0)
        index = word[:, :, None, None].expand(-1, -1, 1, self.center.shape[2])
        return self._words.gather(2, index).squeeze(2)

    def argmax(self, a: Tensor) -> Tensor:
        values = (self._words * a[:, :, None]).sum(3)
        return self._chosen(values - values[:, :, :1])

    def project(self, z: Tensor) -> Tensor:
        distances = (self._words.double() - z.double()[:, :, None]).square().sum(3)
        return self._chosen(distances[:, :, :1] - distances)

    def contains(self, z: Tensor) -> Tensor:
        equal = (self._words.double() == z.double()[:, :, None]).all(3)
        changed = ~equal[:, :, 0]
        return equal.any(2).all(1) & (changed.sum(1) <= self._most)

    def to(self, dtype: torch.dtype) -> Substitution:
        return Substitution(self.center.to(dtype), self.choices.to(dtype), self.valid, self.budget)

    def __getitem__(self, samples: slice | Tensor) -> Substitution:
        valid = None if self.valid is None else self.valid[samples]
        return Substitution(self.center[samples], self.choices[samples], valid, self.budget)
