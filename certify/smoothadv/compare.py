"""Certificates and attacks of one smoothed classifier, held against each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from certify.binomial import binomial_tail
from certify.errors import StatisticalContradiction, UsageError
from certify.evidence import joint_chance
from certify.smoothadv.attack import SmoothAdvResult
from certify.smoothing import SmoothingResult
from certify.smoothing.execution import Execution


@dataclass(frozen=True)
class Alarm:
    """A sample certified with its label at ``radius``, and attacked at a ``distance`` that is smaller.

    place: its row. p_value: of the test that the label is lost at the point.
    """

    sample: int
    place: int
    radius: float
    distance: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Which samples are certified and attacked inside their radius, and how far chance explains that.

    certified: samples certified with their label; attacked: samples attacked. per_sample: an upper bound of
    the probability that sampling alone makes an alarm of one sample, before anything is drawn. chance: an
    upper bound of the probability of so many alarms or more among all samples, P[Binomial(samples,
    per_sample) >= alarms], for the noise of different samples is independent.
    """

    alarms: tuple[Alarm, ...]
    certified: int
    attacked: int
    per_sample: float
    chance: float
    attacks: SmoothAdvResult

    def check(self) -> None:
        """Raise ``StatisticalContradiction``, the first sample as the reproducer, if there is an alarm."""
        if not self.alarms:
            return
        first, attacks = self.alarms[0], self.attacks
        message = (
            f"sample {first.sample} is certified at radius {first.radius:g} and attacked at distance "
            f"{first.distance:g} (p-value {first.p_value:.2g}) by {attacks.attack}; {len(self.alarms)} such "
            f"of {len(attacks.samples)} samples have probability <= {self.chance:.2g} by sampling alone, "
            f"else law, certifier or model are wrong: repeat with another seed"
        )
        place = first.place
        x, point = attacks.x[place].cpu(), attacks.points[place].cpu()
        raise StatisticalContradiction(message, first.sample, x, int(attacks.y[place]), point, self.chance)

    def __str__(self) -> str:
        return (
            f"of {len(self.attacks.samples)} samples {self.certified} certified, {self.attacked} attacked; "
            f"{len(self.alarms)} alarms, by chance with probability at most {self.chance:.2g}"
        )


def compare(certificates: SmoothingResult, attacks: SmoothAdvResult) -> Comparison:
    """Join certificates and attacks of the same samples, in the same order, under the same law of noise.

    An alarm is a sample certified with its label at a radius > ||delta|| and attacked at level alpha: one of
    the two statements is false.
    Raises ``UsageError`` for results of other samples or another law, and for certificates of the model in
    another execution than the attacked one, which is a model of its own.
    """
    if len(certificates.label) != len(attacks.samples):
        raise UsageError(f"{len(certificates.label)} certificates for {len(attacks.samples)} attacks")
    if certificates.law != attacks.law:
        raise UsageError(f"certificates for {certificates.law} say nothing of attacks under {attacks.law}")
    if certificates.execution != repr(Execution()):
        raise UsageError(
            f"certificates for {certificates.execution} speak of another function than the attacked model; "
            f"certify it as it is, with {Execution()!r}"
        )
    right = certificates.label == attacks.y.cpu()
    alarming = right & (certificates.radius > attacks.distance) & attacks.attacked
    alarms = tuple(
        Alarm(
            attacks.samples[place],
            place,
            float(certificates.radius[place]),
            float(attacks.distance[place]),
            float(attacks.p_value[place]),
        )
        for place in torch.nonzero(alarming)[:, 0].tolist()
    )
    per_sample = joint_chance(certificates.alpha, attacks.alpha)
    chance = binomial_tail(len(alarms), len(attacks.samples), per_sample)
    return Comparison(alarms, int(right.sum()), int(attacks.attacked.sum()), per_sample, chance, attacks)
