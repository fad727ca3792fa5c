"""What certificates of single inputs say about a data set, and about where it came from.

Each statement names the randomness that its chance of failure is a chance of. Statements about several inputs
together, other than Bonferroni's, need draws that are independent between inputs, as a certifier's are: noise
is keyed by the sample's id.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from torch import Tensor

from certify.binomial import check_alpha, tail_at_most
from certify.errors import UsageError
from certify.smoothing.intervals import FloatArray, IntArray, lower_bounds
from certify.smoothing.laws import NoiseLaw
from certify.smoothing.modes import Fixed
from certify.smoothing.modes.decide import needed_probability
from certify.smoothing.result import SmoothingResult

BoolArray = npt.NDArray[np.bool_]


class Covers(Enum):
    """The randomness that a failure is a matter of."""

    EACH = "the draws of each input, separately"
    ALL = "the draws of all inputs, jointly"
    POPULATION = "the choice of the inputs and all draws, jointly"


@dataclass(frozen=True)
class Statement:
    """At least a share ``accuracy`` keeps its true label at every distance up to ``radius``.

    For ``Covers.EACH`` the share is a count of certificates, each of which is wrong with chance at most
    ``failure``; for ``ALL`` it is one of these ``samples`` inputs, for ``POPULATION`` of what they were
    drawn from independently, and the statement as a whole is wrong with chance at most ``failure``.
    certified: the inputs behind the share; accuracy is rounded down. Radii are input units of the law's norm;
    a statement speaks of its own radius, if not of ``whole_curve``: then those at all radii hold together.
    """

    method: str
    radius: float
    certified: int
    samples: int
    accuracy: float
    failure: float
    covers: Covers
    whole_curve: bool

    def record(self) -> dict[str, str | int | float | bool]:
        """All fields under their names, for a file."""
        return {**vars(self), "covers": self.covers.value}

    def __str__(self) -> str:
        scope = "at all radii at once" if self.whole_curve else "at this radius"
        radius, failure = _printed(self.radius, 1), _printed(self.failure, -1)
        chance = f"{failure} over {self.covers.value}, {scope} ({self.method})"
        some = f"{self.certified} of {self.samples} inputs"
        if self.covers is Covers.EACH:
            return f"radius {radius}: {some} are certified, each wrongly with probability <= {chance}"
        if self.covers is Covers.POPULATION:
            digits = math.floor(self.accuracy * 1e6) / 1e6
            some = f"a share {digits:g} of the population, by {some},"
        return f"radius {radius}: at least {some} are robust, wrong with probability <= {chance}"


@dataclass(frozen=True, eq=False)
class Certificates:
    """Per input: whether its certified label is the true one, the radius, and the chance that it is wrong.

    All (samples,). Raises ``UsageError`` for other shapes, no inputs, a radius that is negative or NaN, or an
    alpha outside (0, 1).
    """

    correct: BoolArray
    radius: FloatArray
    alpha: FloatArray

    def __post_init__(self) -> None:
        if not len(self.correct) or not self.correct.shape == self.radius.shape == self.alpha.shape:
            raise UsageError(
                f"{self.radius.shape} radii and {self.alpha.shape} alphas for {self.correct.shape}"
            )
        if not (self.radius >= 0).all():
            raise UsageError("radii are numbers >= 0 in input units")
        for alpha in np.unique(self.alpha).tolist():
            check_alpha(alpha)

    @classmethod
    def of(cls, result: SmoothingResult, labels: Tensor) -> Certificates:
        """Those of a result; labels: (batch,) true classes. Raises ``UsageError`` for another number."""
        _check_labels(result, labels)
        radius = result.radius.numpy()
        return cls((result.label == labels.cpu()).numpy(), radius, np.full(len(radius), result.alpha))

    def count(self, radius: float) -> int:
        """Inputs certified with their true label on the whole closed ball of this radius."""
        _check_radius(radius)
        return int((self.correct & (self.radius > radius)).sum())


def per_sample(certificates: Certificates, radius: float) -> Statement:
    """The share of inputs with a certificate, as it is usually printed: Cohen, Rosenfeld & Kolter (2019).

    Each certificate fails with chance at most alpha, the largest of them is given; nothing is said of how
    many fail together.
    """
    count, n = certificates.count(radius), len(certificates.correct)
    alpha = float(certificates.alpha.max())
    return _statement("per sample", radius, (count, n), alpha, Covers.EACH, True)


def bonferroni(certificates: Certificates, radius: float) -> Statement:
    """No certificate fails, but with the sum of all chances: whatever depends on whatever.

    For a joint ``alpha`` over n inputs certify each at ``shared_alpha(alpha, n)``. Raises ``UsageError``
    where the chances sum to 1 or more.
    """
    count, n = certificates.count(radius), len(certificates.correct)
    failure = math.nextafter(math.fsum(certificates.alpha.tolist()), math.inf)
    if failure >= 1:
        raise UsageError(
            f"the chances of failure of {n} certificates sum to {failure:g}; certify each at alpha / {n}"
        )
    return _statement("Bonferroni", radius, (count, n), failure, Covers.ALL, True)


def shared_alpha(alpha: float, n: int) -> float:
    """The alpha of each of ``n`` certificates for a joint ``alpha`` by Bonferroni, rounded down.

    Raises ``UsageError`` for alpha outside (0, 1) or n < 1.
    """
    check_alpha(alpha)
    if n < 1:
        raise UsageError(f"n is {n}; give the number of inputs")
    return alpha / n * (1 - 2.0**-50)


def few_failures(certificates: Certificates, radius: float, failure: float) -> Statement:
    """All but a few certificates hold: Cohen, Rosenfeld & Kolter (2019), appendix on certified accuracy.

    With independent draws, the number of failures among n inputs is at most binomial with the largest alpha;
    the least k that it exceeds with chance at most ``failure`` is taken off the count. It is the same k at
    all radii. Raises ``UsageError`` for failure outside (0, 1).
    """
    count, n = certificates.count(radius), len(certificates.correct)
    most = most_failures(certificates, failure)
    share = (max(count - most, 0), n)
    return _statement(f"at most {most} failures", radius, share, failure, Covers.ALL, True)


def most_failures(certificates: Certificates, failure: float) -> int:
    """The least number of failures that independent certificates exceed with chance at most ``failure``.

    Raises ``UsageError`` for failure outside (0, 1).
    """
    check_alpha(failure)
    n, alpha = len(certificates.correct), float(certificates.alpha.max())
    low, high = -1, n  # more than n never fail
    while high - low > 1:
        middle = (low + high) // 2
        enough = tail_at_most(middle + 1, n, alpha, failure)
        low, high = (low, middle) if enough else (middle, high)
    return high


def holm(
    result: SmoothingResult, labels: Tensor, law: NoiseLaw, radius: float, failure: float
) -> tuple[Statement, BoolArray]:
    """Which inputs (batch,) are certified beyond ``radius`` so that, but for ``failure``, all are right.

    Holm (1979), a step-down of Bonferroni, on the binomial tails of the votes at the probability that the
    radius needs; the result's own alpha plays no part. The tests are those of inputs for which the selection
    stage picked the true label: it used draws of its own. The statement is about this radius alone.
    Raises ``UsageError`` for failure outside (0, 1), a result of another law or with another mode than
    ``Fixed``: only a fixed number of draws has such tails.
    """
    check_alpha(failure)
    _check_labels(result, labels)
    _check_radius(radius)
    n = int(result.n[0])
    if result.mode != repr(Fixed(n)):
        raise UsageError(f"Holm's tests need votes of a fixed number of draws, not of {result.mode}")
    if result.law != repr(law):
        raise UsageError(f"the result is of {result.law}, not of {law!r}")
    p = needed_probability(law, radius)
    tested = (result.selected == labels.cpu()).numpy()
    rejected = np.zeros(len(tested), dtype=np.bool_)
    if p is not None:
        rejected[tested] = _step_down(result.hits.numpy()[tested], n, p, failure)
    count = int(rejected.sum())
    share = (count, len(tested))
    return _statement("Holm", radius, share, failure, Covers.ALL, False), rejected


def _step_down(hits: IntArray, n: int, p: float, alpha: float) -> BoolArray:
    """Which counts out of n reject "the probability is at most p", familywise at alpha."""
    rejected = np.zeros(len(hits), dtype=np.bool_)
    for done, at in enumerate(np.argsort(-hits, kind="stable")):
        level = alpha / (len(hits) - done) * (1 - 2.0**-50)
        if hits[at] == 0 or not tail_at_most(int(hits[at]), n, p, level):
            break
        rejected[at] = True
    return rejected


def population(certificates: Certificates, radius: float, failure: float) -> Statement:
    """A lower confidence bound of the certified accuracy on the population that the inputs were drawn from.

    An input that is not robust is counted with chance at most alpha, so the chance c that an input is counted
    is at most t + (1 - t) alpha for the accuracy t sought: t >= (c - alpha) / (1 - alpha). c has a
    Clopper-Pearson bound at ``failure``, for inputs drawn independently of each other, of the model's
    training and of choices made by looking at them. Raises ``UsageError`` for failure outside (0, 1).
    """
    count, n = certificates.count(radius), len(certificates.correct)
    alpha = float(certificates.alpha.max())
    counted = float(lower_bounds(np.array([count]), n, failure)[0])
    accuracy = max((counted - alpha) / (1 - alpha) * (1 - 2.0**-50), 0.0)
    return Statement("Clopper-Pearson", radius, count, n, accuracy, failure, Covers.POPULATION, False)


def _statement(
    method: str, radius: float, share: tuple[int, int], failure: float, covers: Covers, whole_curve: bool
) -> Statement:
    """With the accuracy ``share``, inputs out of inputs, rounded down."""
    part, whole = share
    accuracy = part / whole
    if Fraction(accuracy) > Fraction(part, whole):
        accuracy = math.nextafter(accuracy, 0.0)
    return Statement(method, radius, part, whole, accuracy, failure, covers, whole_curve)


def _printed(value: float, side: int) -> str:
    """In six digits, or in all where that would be too large (side 1) or too small (side -1)."""
    text = f"{value:g}"
    return text if side * float(text) <= side * value else repr(float(value))


def _check_labels(result: SmoothingResult, labels: Tensor) -> None:
    if labels.shape != result.label.shape or len(labels) == 0:
        raise UsageError(f"{len(result.label)} certified samples and labels of shape {tuple(labels.shape)}")


def _check_radius(radius: float) -> None:
    if not radius >= 0:
        raise UsageError(f"radii are numbers >= 0 in input units, not {radius}")
