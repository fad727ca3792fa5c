"""Memory that is freed stays with the process."""

from __future__ import annotations

import torch

_KEPT = 2**25 - 2**13  # bytes; the C library learns from blocks of at most 32 MiB


def keep_freed() -> None:
    """Free one large block: the C library then keeps smaller ones that are freed.

    By default it gives them back to the system, and fetching them again costs bounds of a batch up to a third
    of their time, a search a fifth. At most 64 MiB are held in this way.
    """
    torch.empty(_KEPT, dtype=torch.uint8)
