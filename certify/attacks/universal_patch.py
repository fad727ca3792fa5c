"""One patch for all samples and places: the adversarial patch, by expectation over transforms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from certify.attacks.base import Found, Problem, RegionAttack, no_set
from certify.attacks.universal import clipped, digest, problem_of, right_ones
from certify.errors import UsageError
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import Patch

_DEFAULT_RUN = Run()


@dataclass(frozen=True)
class Placement:
    """How a patch is put into images: a place, a rotation about its middle, and a size.

    rotation: at most so many degrees either way. smallest: the least share of its sides; 1 is full size. What
    a turned patch leaves free of its square, or pushes out of it, stays image: so the square's threat holds.
    """

    rotation: float
    smallest: float

    def draw(self, generator: torch.Generator) -> Tensor:
        """Four numbers in [0, 1): place down and across, rotation, size."""
        return torch.rand(4, generator=generator, dtype=torch.float64, device=generator.device)

    def put(self, x: Tensor, patch: Tensor, draws: Tensor) -> Tensor:
        """The images with the patch; x: (batch, *channels, height, width), draws: (batch, 4)."""
        rows, columns = patch.shape[-2:]
        plane = x.reshape(len(x), math.prod(x.shape[1:-2]), -1)
        top = (draws[:, 0] * (x.shape[-2] - rows + 1)).long()
        left = (draws[:, 1] * (x.shape[-1] - columns + 1)).long()
        i, j = (torch.arange(n, device=x.device) for n in (rows, columns))
        places = (top[:, None, None] + i[:, None]) * x.shape[-1] + left[:, None, None] + j
        index = places.flatten(1)[:, None].expand(-1, plane.shape[1], -1)
        grid = self._grid(draws, rows, columns)
        content = patch.reshape(1, plane.shape[1], rows, columns).expand(len(x), -1, -1, -1)
        window = torch.nn.functional.grid_sample(
            content, grid.to(content), mode="bilinear", padding_mode="border", align_corners=False
        )
        # interpolation may leave the range by a rounding; the gradient passes all the same
        window = window + (window.clamp(patch.min(), patch.max()) - window).detach()
        covered = (grid.abs() <= 1).all(3).flatten(1)[:, None]
        values = torch.where(covered, window.flatten(2).to(x.dtype), plane.gather(2, index))
        return plane.scatter(2, index, values).view_as(x)

    def _grid(self, draws: Tensor, rows: int, columns: int) -> Tensor:
        """Where each pixel of the square comes from in the patch, in [-1, 1]; (batch, rows, columns, 2)."""
        turn = torch.deg2rad((2 * draws[:, 2] - 1) * self.rotation)[:, None, None]
        size = (self.smallest + (1 - self.smallest) * draws[:, 3])[:, None, None]
        i, j = (
            torch.arange(n, dtype=torch.float64, device=draws.device) - (n - 1) / 2 for n in (rows, columns)
        )
        down, across = i[:, None], j[None, :]
        row = (turn.cos() * down + turn.sin() * across) / size
        column = (turn.cos() * across - turn.sin() * down) / size
        return torch.stack([2 * column / columns, 2 * row / rows], dim=3)


@dataclass(frozen=True)
class UniversalPatch(RegionAttack):
    """A patch as an attack: ``tries`` random places, rotations and sizes per sample.

    source: the ``repr`` of what found it. threat: the square it fits. rate: the share of random placements on
    the samples that it was fitted to that break the decision. patch: (*channels, rows, columns).
    """

    source: str
    threat: Patch
    placement: Placement
    rate: float
    digest: str
    tries: int
    patch: Tensor = field(repr=False, compare=False)

    def supports(self, query: Query) -> str | None:
        """None for images that the patch fits into under a threat of such a square."""
        shape, patch = query.x.shape[1:], self.patch.shape
        if len(shape) != len(patch) or shape[:-2] != patch[:-2]:
            return f"its patch has shape {tuple(patch)} and does not fit inputs of shape {tuple(shape)}"
        if not isinstance(query.threat, Patch) or query.threat.eps < self.threat.eps:
            return f"its square of {self.threat.eps} pixels a side is no member of {query.threat!r}"
        if shape[-2] < patch[-2] or shape[-1] < patch[-1]:
            return f"its patch has shape {tuple(patch)}, larger than inputs of shape {tuple(shape)}"
        return no_set(query)

    def find(self, problem: Problem) -> Found:
        best = Found.nothing(problem)
        for trial in range(self.tries):
            index = (~best.broken).nonzero()[:, 0]
            if len(index) == 0:
                break
            part = problem[index]
            generators = [part.run.generator(part.key, sample, f"try {trial}") for sample in part.samples]
            draws = torch.stack([self.placement.draw(each) for each in generators])
            points = self.placement.put(part.start, self.patch.to(part.start.device), draws)
            best = best.updated(index, part.look(points))
        return best


@dataclass(frozen=True)
class PatchEoT:
    """The adversarial patch (Brown et al. 2017): one content for all images, by expectation over transforms.

    Ascent on the mean over random images, places, rotations and sizes of the clipped cross-entropy, in steps
    of the gradient's sign, cut to the valid range; the step shrinks to 0.

    steps, batch_size: of the ascent. step_size: of its first step, as a share of the valid range. rotation:
    degrees either way. smallest: the least size of the patch as a share of its square. tries: placements per
    sample when it attacks. Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 200
    batch_size: int = 32
    step_size: float = 0.1
    rotation: float = 20.0
    smallest: float = 0.8
    tries: int = 10

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.tries) < 1:
            raise UsageError(f"{self!r} does nothing; give steps, batch_size and tries >= 1")
        if not (0 < self.step_size <= 1 and 0 < self.smallest <= 1 and 0 <= self.rotation <= 180):
            raise UsageError(
                f"{self!r} has a step_size or smallest outside of (0, 1], or a rotation outside of [0, 180]"
            )

    def fit(
        self, model: Model, x: Tensor, y: Tensor, threat: Patch, run: Run = _DEFAULT_RUN
    ) -> UniversalPatch:
        """The patch; x: (n, *channels, height, width) images, y: (n,) labels, threat: its square.

        Raises ``UsageError`` for bad inputs, an empty square, and where the model gets no sample right.
        """
        valid = model.input_range
        problem = problem_of(right_ones(model, x, y, threat, run), repr(self), run)
        side = int(threat.eps)
        if valid is None or side == 0:
            raise UsageError(f"{threat!r} leaves no room for a patch; give at least 1 pixel a side")
        shape = (*x.shape[1:-2], min(side, x.shape[-2]), min(side, x.shape[-1]))
        placement = Placement(self.rotation, self.smallest)
        patch = torch.full(shape, sum(valid) / 2, dtype=torch.float32, device=problem.start.device)
        for step in range(self.steps):
            part, draws = self._drawn(problem, f"step {step}")
            gradient = self._gradient(part, placement, patch, draws)
            length = self.step_size * (1 - step / self.steps) * (valid[1] - valid[0])
            patch = (patch + length * gradient.sign()).clamp(*valid)
        rate = self._rate(problem, placement, patch)
        return UniversalPatch(repr(self), threat, placement, rate, digest(patch), self.tries, patch)

    def _drawn(self, problem: Problem, stage: str) -> tuple[Problem, Tensor]:
        """A random minibatch, with replacement, and its placements."""
        generator = problem.run.generator(problem.key, 0, stage)
        device, n = generator.device, len(problem.start)
        chosen = torch.randint(n, (min(n, self.batch_size),), generator=generator, device=device)
        draws = torch.rand(len(chosen), 4, generator=generator, dtype=torch.float64, device=device)
        return problem[chosen], draws

    def _gradient(self, part: Problem, placement: Placement, patch: Tensor, draws: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = patch.detach().requires_grad_()
            points = placement.put(part.start, leaf, draws)
            look = part.look(points)
            (gradient,) = torch.autograd.grad(points, leaf, look.gradient(clipped))
        return gradient

    def _rate(self, problem: Problem, placement: Placement, patch: Tensor) -> float:
        """The share of random placements that break the decision, one per sample."""
        broken = []
        every = torch.arange(len(problem.start), device=problem.start.device)
        for number, batch in enumerate(torch.split(every, self.batch_size)):
            part = problem[batch]
            generator = problem.run.generator(problem.key, number, "rate")
            draws = torch.rand(len(batch), 4, generator=generator, dtype=torch.float64, device=every.device)
            broken.append(part.look(placement.put(part.start, patch, draws)).broken)
        return float(torch.cat(broken).double().mean())
