"""One certification over the processes of ``torchrun``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.query import check_ids
from certify.smoothing.result import SmoothingResult

Certify = Callable[[Tensor, Sequence[int]], SmoothingResult]


def sharded(certify: Certify, x: Tensor, samples: Sequence[int]) -> SmoothingResult:
    """The result of ``certify(x, samples)``, each process of the default group doing its share.

    The same for any number of processes, for a sample's noise is keyed by its id; every process gets all of
    it. Raises ``UsageError`` for fewer samples than processes, and for ids that are not one for each sample
    or not unique. Example, under ``torchrun --nproc-per-node 2``::

        torch.distributed.init_process_group("gloo")
        certifier = certify.Smoothing(sigma=0.25)
        result = sharded(lambda x, ids: certifier.certify(model, x, run, ids), x, range(len(x)))
    """
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    check_ids(samples)
    if len(samples) != len(x):
        raise UsageError(f"{len(samples)} sample ids for {len(x)} samples")
    if len(x) < world:
        raise UsageError(f"{len(x)} samples for {world} processes; start no more processes than samples")
    own = certify(x[rank::world], samples[rank::world])
    parts: list[SmoothingResult] = [own] * world
    torch.distributed.all_gather_object(parts, own)
    order = torch.cat([torch.arange(len(x))[r::world] for r in range(world)]).argsort()
    joined: dict[str, Any] = {
        f.name: torch.cat([getattr(part, f.name) for part in parts])[order]
        for f in fields(own)
        if isinstance(getattr(own, f.name), Tensor)
    }
    return replace(own, **joined)
