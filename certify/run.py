"""How to compute: device, dtype, seed and budgets are named here and nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from certify.errors import UsageError

Progress = Callable[[str, int, int], None]


def _silent(stage: str, done: int, total: int) -> None:
    """The default progress listener."""


@dataclass(frozen=True)
class Run:
    """Execution settings; nothing in here changes what a result claims.

    device: torch device name. dtype: of the fast search (decisions are made again where they are sound).
    seed: of all randomness. batch_size: samples handled together. memory: bytes that one chunk of work may
    take. progress: called with (stage, done, total).
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    seed: int = 0
    batch_size: int = 32
    memory: int = 2**28
    progress: Progress = field(default=_silent, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}; give at least 1")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}; give an integer >= 0")

    def generator(self, decider: str, sample: int, stage: str) -> torch.Generator:
        """A generator keyed by (seed, decider, sample, stage) alone.

        The same key gives the same numbers whatever else runs, in any order and any batch.
        """
        key = f"{self.seed}\x1f{decider}\x1f{sample}\x1f{stage}".encode()
        value = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
        return torch.Generator(device=self.device).manual_seed(value)
