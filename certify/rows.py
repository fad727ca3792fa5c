"""The rows of evidence that a ledger keeps and a report tells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bounds.rounding import Level
from certify.evidence import Evidence
from certify.result import SampleResult
from certify.smoothing import NoiseLaw, SmoothingResult
from certify.verdict import Verdict


@dataclass(frozen=True, eq=False)
class VerdictRow:
    """One sample's verdict under one threat.

    by: the decider that settled it (its ``repr``), or None. margin: a certified lower bound of the smallest
    margin, valid at ``level``. alpha: failure probability, 0 for deterministic methods. detail: further
    evidence as JSON values. witness: the replayed counterexample, of the model's input shape, and ``x`` the
    sample that it was made of. seconds: of the deciders, in the order of the detail's evidence; no result.
    proof: a file that shows that the sample is verified.
    """

    eps: float
    sample: int
    verdict: Verdict
    by: str | None = None
    margin: float | None = None
    level: Level | None = None
    alpha: float = 0.0
    detail: Mapping[str, Any] | None = None
    witness: NDArray[Any] | None = None
    x: NDArray[Any] | None = None
    seconds: tuple[float, ...] = ()
    proof: bytes | None = None


@dataclass(frozen=True, eq=False)
class RadiusRow:
    """One sample of the smoothed classifier: its label (-1 abstains) and the radius that keeps it."""

    sigma: float
    sample: int
    truth: int
    label: int
    radius: float
    alpha: float
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Basis:
    """What the radii of a smoothed classifier rest on.

    law, mode, execution: the noise, how many draws are made and how the network is run, as they show
    themselves. norm: of the radii, such as "L2". reference: the theorem. domain: the inputs that it is about.
    """

    law: str
    norm: str
    reference: str
    domain: str
    mode: str
    execution: str

    @classmethod
    def of(cls, row: RadiusRow) -> Self:
        """That of a row, which has it in its detail."""
        return cls(**{field.name: str(row.detail[field.name]) for field in fields(cls)})


def verdict_row(eps: float, result: SampleResult) -> VerdictRow:
    """What was found out about a sample under a threat of budget ``eps``."""
    witness, x = (None if t is None else t.detach().cpu().numpy() for t in (result.witness, result.x))
    return VerdictRow(
        eps,
        result.sample,
        result.verdict,
        result.by,
        result.margin,
        result.level,
        result.alpha,
        {
            "label": result.label,
            "predicted": result.predicted,
            "adversarial": result.adversarial,
            "distances": _distances(x, witness),
            "evidence": [_evidence(each) for each in result.evidence],
        },
        witness,
        x,
        tuple(each.seconds for each in result.evidence),
        next((each.proof for each in result.evidence if each.decider == result.by), None),
    )


def _distances(x: NDArray[Any] | None, witness: NDArray[Any] | None) -> dict[str, float] | None:
    """How far a counterexample is from its sample in each norm, measured in float64; L0 counts elements."""
    if x is None or witness is None:
        return None
    delta = np.abs(witness.astype(np.float64) - x.astype(np.float64)).ravel()
    return {
        "linf": float(delta.max(initial=0.0)),
        "l2": math.hypot(*delta.tolist()),
        "l1": math.fsum(delta.tolist()),
        "l0": float(np.count_nonzero(delta)),
    }


def _evidence(each: Evidence) -> dict[str, Any]:
    """One decider's finding as JSON values; its witness, if it was one, is the row's."""
    return {
        "decider": each.decider,
        "margin": None if each.margin is None else _strict(each.margin),
        "level": None if each.level is None else each.level.value,
        "alpha": each.alpha,
        **{name: _strict(value) for name, value in each.detail.items()},
    }


def _strict(value: float | str) -> float | str:
    """JSON has no infinities."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)


def radius_rows(
    sigma: float, samples: Sequence[int], truth: Sequence[int], result: SmoothingResult, law: NoiseLaw
) -> list[RadiusRow]:
    """What was found out about the smoothed classifier at some samples, with their true classes.

    law: the noise of the result.
    """
    basis = Basis(
        law=result.law,
        norm=f"L{law.norm:g}",
        reference=law.reference,
        domain=law.domain,
        mode=result.mode,
        execution=result.execution,
    )
    return [
        RadiusRow(
            sigma,
            sample,
            truth=truth[place],
            label=int(result.label[place]),
            radius=float(result.radius[place]),
            alpha=result.alpha,
            detail={
                "selected": int(result.selected[place]),
                "hits": int(result.hits[place]),
                "selection": result.selection[place].tolist(),
                "votes": [list(answer) for answer in result.votes[place]],
                "p_lower": float(result.p_lower[place]),
                "p_other": float(result.p_other[place]),
                "n": int(result.n[place]),
                "n0": result.n0,
                "seed": result.seed,
                "device": result.device,
                **vars(basis),
            },
        )
        for place, sample in enumerate(samples)
    ]
