"""How memory is used: what is freed is kept, and what is computed stays small enough for the caches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_KEPT = 2**25 - 2**13  # bytes; the C library learns from blocks of at most 32 MiB
_CACHED = 2**18  # numbers: about what the second cache of a processor holds


def keep_freed() -> None:
    """Free one large block: the C library then keeps smaller ones that are freed.

    By default it gives them back to the system, and fetching them again costs bounds of a batch up to a third
    of their time, a search a fifth. At most 64 MiB are held in this way.
    """
    torch.empty(_KEPT, dtype=torch.uint8)


def cached(x: Tensor, each: int, multiple: int = 1) -> Sequence[slice]:
    """Parts of the first axis, each small enough for the caches of a processor to hold what is made of it.

    each: numbers that are made of one entry. multiple: of how many entries a part is made, for what is faster
    with round numbers, where it is not twice as large then. All of it where gradients are kept, or on a
    device with one fast memory.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu" or len(x) * each <= _CACHED:
        return [slice(None)]
    step = max(1, _CACHED // each)
    rounded = -(-step // multiple) * multiple
    step = rounded if rounded < 2 * step else step
    return [slice(first, first + step) for first in range(0, len(x), step)]
