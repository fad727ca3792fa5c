"""How small modules are probed, in any Python with torch: same seed, same weights, same boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SEED = 0
BATCH = 2
SAMPLES = 200
RADIUS = 0.2


class Fn(nn.Module):
    """A function of one tensor as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True)
class Probe:
    """A module and boxes to bound it on.

    shape: of one sample. positive: inputs in [0.5, 1.5] and a first layer with positive weights and bias, so
    that what enters the operator is above 0.4; else inputs in [-1, 1]. RADIUS is that of the boxes.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    positive: bool = False

    def module(self) -> nn.Module:
        """In evaluation mode, with seeded weights of moderate size."""
        source = torch.Generator().manual_seed(SEED)
        module = self.make().eval()
        for each in module.modules():
            if not isinstance(each, nn.PReLU):
                _fill(each, source)
        if self.positive:
            first = next(iter(module.modules() if isinstance(module, nn.Linear) else module.children()))
            for values in first.parameters():
                values.data = values.data.abs() + 0.1
        return module

    def box(self) -> tuple[Tensor, Tensor]:
        """Lower and upper, (BATCH, *shape)."""
        source = torch.Generator().manual_seed(SEED + 1)
        x = torch.rand(BATCH, *self.shape, generator=source)
        x = 0.7 + 0.6 * x if self.positive else 1.6 * x - 0.8
        return x - RADIUS, x + RADIUS


def _fill(module: nn.Module, source: torch.Generator) -> None:
    """Own parameters and statistics: matrices scaled to keep sizes, scales around one, offsets small."""
    for name, values in module.named_parameters(recurse=False):
        noise = torch.randn(values.shape, generator=source)
        if values.dim() > 1:
            values.data = noise / values[0].numel() ** 0.5
        else:
            values.data = 0.3 * noise + float(name.startswith("weight"))
    for name, values in module.named_buffers(recurse=False):
        if name in ("running_mean", "running_var"):
            noise = torch.randn(values.shape, generator=source)
            values.copy_(0.5 + noise.abs() if name == "running_var" else 0.3 * noise)


def lost(module: nn.Module, box: tuple[Tensor, Tensor], bounds: tuple[Tensor, Tensor]) -> str | None:
    """What is wrong with the bounds (BATCH, ...): not finite, or an output of a sample outside them.

    Half of the samples are corners. Outputs are evaluated in the box' dtype, which the tolerance is for.
    """
    source = torch.Generator().manual_seed(SEED + 2)
    lower, upper = (each.detach() for each in bounds)
    if not bool((lower.isfinite() & upper.isfinite()).all()):
        return f"{int((~(lower.isfinite() & upper.isfinite())).sum())} of {lower.numel()} bounds not finite"
    low, high = box
    share = torch.rand(SAMPLES, *low.shape, generator=source, dtype=low.dtype)
    share[: SAMPLES // 2].round_()
    with torch.no_grad():
        y = torch.stack([module(low + (high - low) * each).reshape(len(low), -1) for each in share])
    lower, upper = lower.reshape(len(low), -1), upper.reshape(len(low), -1)
    outside = torch.maximum(lower - y, y - upper).amax(0)
    allowed = {torch.float32: 1e-5, torch.float64: 1e-12}[low.dtype] * (1 + y.abs().amax(0))
    if bool((outside <= allowed).all()):
        return None
    return f"an output is outside by {float((outside - allowed).max()):.2g}"


def width(bounds: tuple[Tensor, Tensor]) -> float:
    """The mean of upper minus lower."""
    return float((bounds[1] - bounds[0]).mean())
