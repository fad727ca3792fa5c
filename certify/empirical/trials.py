"""Every attack on every sample, each find replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.decide import check_deciders, judged, queries
from certify.errors import UsageError
from certify.evidence import Claim, Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import Threat


@dataclass(frozen=True, eq=False)
class Trials:
    """What each attack did on each sample, on the CPU.

    samples: ids. x: (n, *shape). right: (n,) whether the model is right there without an attack. found:
    (attacks, n), a counterexample that was replayed; false on samples that are wrong already, which nobody
    attacks. points: (attacks, n, *shape); x where nothing was found. forwards, backwards, seconds:
    (attacks, n); seconds run from the start of the sample's batch until the attack was done with the sample.
    """

    attacks: tuple[str, ...]
    samples: tuple[int, ...]
    x: Tensor
    right: Tensor
    found: Tensor
    points: Tensor
    forwards: Tensor
    backwards: Tensor
    seconds: Tensor


def trials(
    model: Model,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    attacks: Sequence[Decider],
    run: Run,
    samples: Sequence[int] | None,
) -> Trials:
    """Ask every attack about every sample that the model gets right.

    ``run.progress`` hears of the stage "attack" in samples. Raises ``UsageError`` for bad inputs, for a
    decider that is no attack, and for one that does not support the query, before any work starts.
    """
    batches = list(queries(model, x, y, threat, run, samples=samples))
    for each in attacks:
        if each.claims != {Claim.FALSIFIED}:
            raise UsageError(f"{each!r} is no attack; ask certifiers by evaluate")
    check_deciders(batches[0], attacks)
    run.progress("attack", 0, len(x))
    parts = []
    for query in batches:
        parts.append(_batch(query, attacks, run))
        run.progress("attack", sum(len(part.right) for part in parts), len(x))
    return Trials(
        tuple(map(repr, attacks)),
        tuple(sample for part in parts for sample in part.samples),
        torch.cat([part.x for part in parts]),
        torch.cat([part.right for part in parts]),
        torch.cat([part.found for part in parts], dim=1),
        torch.cat([part.points for part in parts], dim=1),
        torch.cat([part.forwards for part in parts], dim=1),
        torch.cat([part.backwards for part in parts], dim=1),
        torch.cat([part.seconds for part in parts], dim=1),
    )


def _batch(query: Query, attacks: Sequence[Decider], run: Run) -> Trials:
    """One batch of samples."""
    right = query.model.predictions(query.x, query.y, query.samples, run)[1].cpu()
    x, size = query.x.cpu(), (len(attacks), len(query.x))
    found, points = torch.zeros(size, dtype=torch.bool), x.expand(len(attacks), *x.shape).clone()
    forwards, backwards = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.int64)
    seconds = torch.zeros(size, dtype=torch.float64)
    places = right.nonzero()[:, 0].tolist()
    if places:
        part = query[right.to(query.x.device)]
        for row, each in enumerate(attacks):
            for place, evidence in zip(places, judged(each, part, run), strict=True):
                forwards[row, place] = int(evidence.detail.get("forwards", 0))
                backwards[row, place] = int(evidence.detail.get("backwards", 0))
                seconds[row, place] = evidence.seconds
                if evidence.witness is not None:
                    found[row, place] = True
                    points[row, place] = evidence.witness
    return Trials(
        tuple(map(repr, attacks)),
        query.samples,
        x,
        right,
        found,
        points,
        forwards,
        backwards,
        seconds,
    )
