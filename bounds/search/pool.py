"""Domains that wait to be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bounds.search.domains import Domains, Places


@dataclass(frozen=True, eq=False)
class Pool:
    """Open domains and where each is to be cut."""

    domains: Domains
    places: Places

    def __len__(self) -> int:
        return len(self.domains)

    def __getitem__(self, keep: Tensor) -> Pool:
        return Pool(self.domains[keep], self.places[keep])

    def joined(self, other: Pool) -> Pool:
        """The domains of both, one behind the other."""
        return Pool(self.domains.joined(other.domains), self.places.joined(other.places))

    def taken(self, count: int, samples: Tensor, spent: Sequence[int]) -> tuple[Pool, Pool]:
        """The next domains, and the others: first of samples that few were spent on, of each the worst.

        So no sample waits for a harder one for long. samples: (domains,); spent: domains so far per sample.
        """
        worst = self.domains.lower.argsort()
        so_far = torch.tensor(spent, device=samples.device)[samples[worst]]
        order = worst[so_far.argsort(stable=True)]
        return self[order[:count]], self[order[count:]]

    @property
    def bytes(self) -> int:
        """What the domains take in memory."""
        d = self.domains
        ends = [end for x in d.known.values() for end in (x.lower, x.upper)]
        cuts = [d.cuts.node, d.cuts.element, d.cuts.at, d.cuts.side]
        return sum(x.numel() * x.element_size() for x in (*d.chosen.values(), *ends, *cuts))

    def slim(self) -> Pool:
        """Without the choices that bounding would begin with next time."""
        return replace(self, domains=replace(self.domains, chosen={}))
