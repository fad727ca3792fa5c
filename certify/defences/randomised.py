"""Models with randomness at inference: each forward pass draws anew."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from certify.defences.base import check_plain, combined_digest, image
from certify.errors import UsageError
from certify.model import Model
from certify.noise import Draws, stream_key
from certify.run import Run
from certify.sampled import Sampled

_ROWS = 1000  # inputs per forward pass; it changes no vote


class Randomisation(ABC):
    """A random change of the input: a frozen dataclass, whose ``repr`` keys the noise."""

    def around(self, base: Model, n0: int = 100, n: int = 1000) -> Randomised:
        """The random model; n0, n: see ``Sampled``. Raises ``UsageError`` for a model that does not fit."""
        return Randomised(base, self, n0, n)

    @abstractmethod
    def input_shape(self, seen: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an input, given what the base model sees; raises ``UsageError`` if it does not fit."""

    @abstractmethod
    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        """One input changed by each draw, (count, *seen), differentiable by x."""


@dataclass(frozen=True)
class RandomNoise(Randomisation):
    """Gaussian noise of standard deviation ``sigma`` on every value, not clipped (Liu et al. 2018, RSE).

    In front of the first layer alone. ``certify.Smoothing`` certifies the same model as ``Smoothed``.
    Raises ``UsageError`` unless sigma is a finite number > 0.
    """

    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UsageError(f"sigma of RandomNoise is {self.sigma}; give a number > 0 in input units")

    def input_shape(self, seen: tuple[int, ...]) -> tuple[int, ...]:
        return seen

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        return x + self.sigma * draws.normal(tuple(x.shape))


@dataclass(frozen=True)
class RandomPadding(Randomisation):
    """Images resized to a random size and padded with zeros at a random place (Xie et al. 2018).

    *Mitigating adversarial effects through randomization*. An input of ``size`` x ``size`` pixels is resized
    to r x r, r uniform in low, ..., high - 1, by the nearest pixel, and put at a uniform place of a square of
    ``high``, which the base model sees. The paper has size = low = 299 and high = 331; a network that takes
    no larger images has size = high.
    Raises ``UsageError`` unless size >= 1 and 1 <= low < high.
    """

    size: int
    low: int
    high: int

    def __post_init__(self) -> None:
        if not (self.size >= 1 and 1 <= self.low < self.high):
            raise UsageError(f"{self!r} needs size >= 1 and 1 <= low < high, in pixels")

    def input_shape(self, seen: tuple[int, ...]) -> tuple[int, ...]:
        image(seen, (), repr(self))
        if seen[1:] != (self.high, self.high):
            raise UsageError(f"{self!r} makes images of {self.high} x {self.high}, the model takes {seen}")
        return (seen[0], self.size, self.size)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        chance = draws.uniform((3,)).double().to(x.device)
        resized = self.low + (chance[:, 0] * (self.high - self.low)).long()
        rows, columns = (self._source(resized, chance[:, axis]) for axis in (1, 2))
        # one more pixel, 0, is where the padding comes from
        padded = functional.pad(x, (0, 1, 0, 1))
        return padded[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)

    def _source(self, resized: Tensor, chance: Tensor) -> Tensor:
        """For each draw the pixel of the input that each of ``high`` pixels shows; ``size`` means padding."""
        before = (chance * (self.high - resized + 1)).long()
        place = torch.arange(self.high, device=resized.device) - before[:, None]
        inside = (place >= 0) & (place < resized[:, None])
        return torch.where(inside, place * self.size // resized[:, None], self.size)


@dataclass(frozen=True, eq=False, init=False)
class Randomised(Sampled):
    """``base`` on randomly changed inputs: the class is the one that most draws return.

    No graph, and no forward pass that could be run: ``EoT`` attacks it. n0, n: see ``Sampled``.
    Raises ``UsageError`` for a base that answers by sampling itself or does not fit, and unless n0, n >= 1.
    """

    base: Model
    law: Randomisation

    def __init__(self, base: Model, law: Randomisation, n0: int, n: int) -> None:
        check_plain(base, repr(law))
        for what, value in (("n0", n0), ("n", n)):
            if value < 1:
                raise UsageError(f"{what} is {value}; give an integer >= 1")
        name = f"{base.name} behind {law!r}"

        def refuse(x: Tensor) -> Tensor:
            raise UsageError(f"{name} has no exact forward pass, it answers by sampling; attack it with EoT")

        super().__init__(
            forward=refuse,
            graph=None,
            input_shape=law.input_shape(base.input_shape),
            num_classes=base.num_classes,
            input_range=base.input_range,
            name=name,
            digest=combined_digest("randomised", repr(law), base),
        )
        for what, part in (("base", base), ("law", law), ("n0", n0), ("n", n)):
            object.__setattr__(self, what, part)

    def to(self, device: torch.device | str) -> Randomised:
        return Randomised(self.base.to(device), self.law, self.n0, self.n)

    def draws(self, x: Tensor, samples: Sequence[int], m: int, run: Run, stages: Sequence[str]) -> Tensor:
        copies = [
            self._copies(point, sample, 0, m, run, stage)
            for point, sample, stage in zip(x, samples, stages, strict=True)
        ]
        return self.base(torch.cat(copies)).view(len(x), m, -1)

    def votes(
        self, x: Tensor, samples: Sequence[int], run: Run, stage: str, count: int | None = None
    ) -> Tensor:
        """See ``Sampled``; raises ``UsageError`` where a logit is NaN."""
        return torch.stack(
            [
                self._votes(*each, self.n0 if count is None else count, run, stage)
                for each in zip(x.detach(), samples, strict=True)
            ]
        )

    def _votes(self, x: Tensor, sample: int, count: int, run: Run, stage: str) -> Tensor:
        total = torch.zeros(self.num_classes, dtype=torch.int64)
        for first in range(0, count, _ROWS):
            with torch.no_grad():
                logits = self.base(self._copies(x, sample, first, min(_ROWS, count - first), run, stage))
            if logits.isnan().any():
                raise UsageError(f"{self.base.name} returns NaN on copies of sample {sample}")
            total += logits.argmax(1).bincount(minlength=self.num_classes).cpu()
        return total

    def _copies(self, x: Tensor, sample: int, first: int, count: int, run: Run, stage: str) -> Tensor:
        key = stream_key(run.seed, repr(self.law), sample, stage)
        return self.law.perturb(x, Draws(key, first, count, x.device, x.dtype))
