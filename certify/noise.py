"""Random numbers addressed by what they are for, never by what ran before.

A number is a function of (key, lane, draw, position): the same for any batch, order, restart and number of
workers. On a CPU it comes from Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
whose counter is the draw's index, so that any range of draws can be had by itself. On a GPU the device's own
generator makes blocks of draws, each seeded by its index.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

Shape = tuple[int, ...]

# Draws that a GPU makes from one seed. A constant of the method: another value gives other noise.
BLOCK = 128
_PER_COUNT = 4  # words that Philox makes of one count


@dataclass(frozen=True)
class Draws:
    """``count`` draws of one stream from number ``first`` on; what is asked of it depends on these alone.

    key: names the stream (see ``stream_key``). dtype: float32 or float64. Each ``lane`` of a draw is
    independent of its others.
    """

    key: bytes
    first: int
    count: int
    device: torch.device
    dtype: torch.dtype

    def normal(self, shape: Shape, lane: str = "") -> Tensor:
        """Independent standard normal numbers, (count, *shape), by Box & Muller (1958) on the CPU."""
        if self.device.type != "cpu":
            empty = torch.empty(BLOCK, *shape, dtype=self.dtype, device=self.device)
            return self._blocks(lane, lambda g: empty.normal_(generator=g))
        size = prod(shape)
        pairs = (size + 1) // 2
        if self.dtype is torch.float64:
            words = self.words(2 * pairs, lane)
            radius, angle = _unit(words[:, :pairs]), _unit(words[:, pairs : 2 * pairs]).mul_(2 * math.pi)
        else:
            halves = self.words(pairs, lane).view(torch.int32)
            # 31 bits, so that small numbers, which make the tail, keep all of their digits
            radius = (halves[:, :pairs] & 0x7FFFFFFF).float().add_(1).mul_(2.0**-31)
            angle = halves[:, pairs : 2 * pairs].float().mul_(2 * math.pi * 2.0**-32)
        radius.log_().mul_(-2).sqrt_()
        out = torch.empty(self.count, 2 * pairs, dtype=self.dtype)
        torch.cos(angle, out=out[:, :pairs]).mul_(radius)
        torch.sin(angle, out=out[:, pairs:]).mul_(radius)
        return out[:, :size].reshape(self.count, *shape)

    def uniform(self, shape: Shape, lane: str = "") -> Tensor:
        """Independent numbers in the open interval (0, 1), (count, *shape)."""
        size = prod(shape)
        if self.dtype is torch.float64:
            return _unit(self.words(size, lane)[:, :size]).view(self.count, *shape)
        halves = self.words((size + 1) // 2, lane).view(torch.int32)[:, :size]
        found = ((halves >> 9) & 0x7FFFFF).float().add_(0.5).mul_(2.0**-23)
        return found.view(self.count, *shape)

    def words(self, per_draw: int, lane: str = "") -> Tensor:
        """At least ``per_draw`` words of 64 fair bits for every draw: int64 (count, >= per_draw)."""
        counts = -(-per_draw // _PER_COUNT)
        shape = (BLOCK, counts * _PER_COUNT)
        if self.device.type != "cpu":
            empty = torch.empty(shape, dtype=torch.int64, device=self.device)
            return self._blocks(lane, lambda g: empty.random_(-(2**63), None, generator=g))
        key = int.from_bytes(self._digest(lane)[:16], "little")
        generator = np.random.Philox(counter=self.first * counts, key=key)
        raw = generator.random_raw(self.count * shape[1]).view(np.int64)
        return torch.from_numpy(raw).view(self.count, shape[1])

    def _digest(self, lane: str) -> bytes:
        return hashlib.sha256(self.key + lane.encode()).digest()

    def _blocks(self, lane: str, block: Callable[[torch.Generator], Tensor]) -> Tensor:
        """The draws cut out of the blocks that hold them; ``block`` may fill the same memory every time."""
        begin, end = self.first // BLOCK, -(-(self.first + self.count) // BLOCK)
        parts = []
        for index in range(begin, end):
            digest = hashlib.sha256(self._digest(lane) + index.to_bytes(8, "little")).digest()
            seed = int.from_bytes(digest[:8], "little") >> 1
            numbers = block(torch.Generator(device=self.device).manual_seed(seed))
            low, high = self.first - index * BLOCK, self.first + self.count - index * BLOCK
            parts.append(numbers[max(low, 0) : min(high, BLOCK)].clone())
        return torch.cat(parts)


def stream_key(seed: int, law: str, sample: int, stream: str) -> bytes:
    """The key of the draws that one sample gets from a law, for one purpose."""
    return hashlib.sha256(f"{seed}\x1f{law}\x1f{sample}\x1f{stream}".encode()).digest()


def _unit(words: Tensor) -> Tensor:
    """Words as the middles of 2^52 equal parts of (0, 1), float64."""
    return ((words >> 12) & (2**52 - 1)).double().add_(0.5).mul_(2.0**-52)
