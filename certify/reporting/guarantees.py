"""What the certificates of a smoothed classifier say about all samples, and about their population."""

from __future__ import annotations

from collections.abc import Sequence

from certify.reporting.digits import rounded_down
from certify.reporting.schema import Guarantee, SmoothedModel
from certify.smoothing.statements import (
    Certificates,
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


def grid(largest: Sequence[float]) -> list[float]:
    """Radius 0 and round radii up to the largest that are certified."""
    most = max(largest, default=0.0)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.25, 0.5) if most <= s * _RADII), 1.0)
    return [0.0, *(step * k for k in range(1, _RADII + 1) if step * k < most)]


def guarantees(some: Certificates, radius: float, failure: float) -> list[Guarantee]:
    """Certified accuracy at a radius by each account: per sample, jointly, and for the population.

    Bonferroni's is among them where the certificates' chances of failure sum to no more than ``failure``.
    """
    affordable = len(some.alpha) * float(some.alpha.max()) <= failure
    statements = [
        per_sample(some, radius),
        few_failures(some, radius, failure),
        *([bonferroni(some, radius)] if affordable else []),
        population(some, radius, failure),
    ]
    return [_recorded(each) for each in statements]


def _recorded(each: Statement) -> Guarantee:
    return Guarantee(
        method=each.method,
        radius=each.radius,
        certified=each.certified,
        samples=each.samples,
        accuracy=each.accuracy,
        failure=each.failure,
        covers=each.covers.value,
        whole_curve=each.whole_curve,
        sentence=str(each),
    )


def meaning(each: Guarantee) -> str:
    """What the accuracies of this account are, and which chance they may be wrong with; for all radii."""
    subject = "each certificate" if each.covers == Covers.EACH.value else "the statement"
    scope = "for all radii at once" if each.whole_curve else "for each radius by itself"
    return (
        f"{_MEANING.get(each.method, _FEW)}. Wrong is {subject} with probability at most "
        f"{each.failure:g}, over {each.covers}, {scope}."
    )


def unsaid(model: SmoothedModel) -> str | None:
    """What it would take to have no certificate wrong, where the certificates' alpha is too large for it."""
    if model.n * model.alpha <= model.joint_failure:
        return None
    needed = rounded_down(shared_alpha(model.joint_failure, model.n), 2)
    return (
        f"That no certificate is wrong cannot be said with confidence {1 - model.joint_failure:.0%}: by "
        f"Bonferroni it takes alpha = {needed} per sample."
    )


def shown(each: Guarantee) -> str:
    """The accuracy in percent, rounded down to one decimal."""
    if each.covers == Covers.POPULATION.value:
        return f"{int(each.accuracy * 1000) / 10:.1f}"
    return f"{1000 * each.certified // each.samples / 10:.1f}"


def rests_on(model: SmoothedModel) -> str:
    """What the radii of a smoothed classifier rest on, in one sentence: noise, theorem, draws and inputs."""
    return (
        f"The smoothed classifier answers with the class that the network returns most often under "
        f"{model.law} noise. Its radii are {model.norm} distances by {model.reference}, from draws by "
        f"{model.mode}; how the network was run: {model.execution}. Domain: {model.domain}."
    )
