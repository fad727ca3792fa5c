"""What the certificates of a smoothed classifier say about all samples, and about their population."""

from __future__ import annotations

from collections.abc import Sequence

from certify.curve import FAILURE, RadiusCurve
from certify.reporting.digits import rounded_down
from certify.smoothing.statements import (
    Covers,
    Statement,
    bonferroni,
    few_failures,
    per_sample,
    population,
    shared_alpha,
)

_RADII = 5
_FEW = "so many of these samples are robust; the noise is independent between samples"
_MEANING = {
    "per sample": "a count of certificates; nothing is said of how many are wrong at once",
    "Bonferroni": "so many of these samples are robust, for no certificate is wrong",
    "Clopper-Pearson": (
        "the least share of the population that is robust, for samples drawn from it independently of each "
        "other, of training and of every choice made by looking at them"
    ),
}


def grid(curves: Sequence[RadiusCurve]) -> list[float]:
    """Radius 0 and round radii up to the largest that is certified."""
    largest = max((c.steps[-1][0] for c in curves), default=0.0)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.25, 0.5) if largest <= s * _RADII), 1.0)
    return [0.0, *(step * k for k in range(1, _RADII + 1) if step * k < largest)]


def guarantees(curve: RadiusCurve, radius: float) -> list[Statement]:
    """Certified accuracy at a radius by each account: per sample, jointly, and for the population.

    Bonferroni's is among them where the certificates' chances of failure sum to no more than ``FAILURE``.
    """
    some = curve.certificates
    return [
        per_sample(some, radius),
        few_failures(some, radius, FAILURE),
        *([bonferroni(some, radius)] if unsaid(curve) is None else []),
        population(some, radius, FAILURE),
    ]


def meaning(statement: Statement) -> str:
    """What the accuracies of this account are, and which chance they may be wrong with; for all radii."""
    subject = "each certificate" if statement.covers is Covers.EACH else "the statement"
    scope = "for all radii at once" if statement.whole_curve else "for each radius by itself"
    return (
        f"{_MEANING.get(statement.method, _FEW)}. Wrong is {subject} with probability at most "
        f"{statement.failure:g}, over {statement.covers.value}, {scope}."
    )


def unsaid(curve: RadiusCurve) -> str | None:
    """What it would take to have no certificate wrong, where the certificates' alpha is too large for it."""
    n = len(curve.certificates.alpha)
    if n * curve.alpha <= FAILURE:
        return None
    return (
        f"That no certificate is wrong cannot be said with confidence {1 - FAILURE:.0%}: by Bonferroni it "
        f"takes alpha = {rounded_down(shared_alpha(FAILURE, n), 2)} per sample."
    )


def shown(statement: Statement) -> str:
    """The accuracy in percent, rounded down to one decimal."""
    if statement.covers is Covers.POPULATION:
        return f"{int(statement.accuracy * 1000) / 10:.1f}"
    return f"{1000 * statement.certified // statement.samples / 10:.1f}"


def rests_on(curve: RadiusCurve) -> str:
    """What the radii of a curve rest on, in one sentence: noise, theorem, draws and inputs."""
    basis = curve.basis
    return (
        f"The smoothed classifier answers with the class that the network returns most often under "
        f"{basis.law} noise. Its radii are {basis.norm} distances by {basis.reference}, from draws by "
        f"{basis.mode}; how the network was run: {basis.execution}. Domain: {basis.domain}."
    )
