"""Certificates held against attacks: alarms, and how far chance explains them."""

import dataclasses

import pytest
import torch

from certify.attacks import PGD
from certify.binomial import binomial_tail
from certify.errors import Exit, StatisticalContradiction, UsageError
from certify.smoothadv import SmoothAdv, compare
from certify.smoothing import Smoothing
from certify.smoothing.execution import Execution
from certify.threat import L2
from tests.certify.smoothadv.models import SIGMA, smoothed

G = smoothed()
X = torch.tensor([[0.2, 0.1], [0.7, -0.2], [-0.3, 0.0], [-1.2, 0.5]])
Y = torch.tensor([1, 1, 0, 0])
ATTACKS = SmoothAdv(PGD(steps=8), m=8, alpha=0.01).attack(G, X, Y, L2(0.5))
CERTIFICATES = Smoothing(SIGMA, n=2000).certify(G, X)


def test_true_certificates_raise_no_alarm():
    found = compare(CERTIFICATES, ATTACKS)
    assert found.alarms == ()
    assert (found.certified, found.attacked) == (4, 2)
    assert found.chance == 1.0
    found.check()
    assert "0 alarms" in str(found)


def test_radii_that_are_too_large_do():
    false = dataclasses.replace(CERTIFICATES, radius=4 * CERTIFICATES.radius)
    found = compare(false, ATTACKS)
    assert [alarm.sample for alarm in found.alarms] == [0, 2]
    assert all(alarm.radius > alarm.distance for alarm in found.alarms)
    assert found.per_sample == 0.01
    assert found.chance == binomial_tail(2, 4, 0.01)
    with pytest.raises(StatisticalContradiction, match="2 such of 4 samples") as caught:
        found.check()
    assert caught.value.exit_code is Exit.SOUNDNESS_VIOLATION
    assert caught.value.chance == found.chance
    assert torch.equal(caught.value.witness, ATTACKS.points[0])


def test_a_radius_ends_before_its_sphere():
    on_it = dataclasses.replace(CERTIFICATES, radius=ATTACKS.distance)
    assert compare(on_it, ATTACKS).alarms == ()


def test_other_labels_and_abstentions_are_no_alarm():
    for label in (1 - Y, torch.full((4,), -1)):
        false = dataclasses.replace(CERTIFICATES, label=label, radius=10 + CERTIFICATES.radius)
        assert compare(false, ATTACKS).alarms == ()


def test_refuses_results_that_do_not_belong_together():
    short = Smoothing(SIGMA, n=50).certify(G, X[:2])
    with pytest.raises(UsageError, match="2 certificates for 4 attacks"):
        compare(short, ATTACKS)
    with pytest.raises(UsageError, match="say nothing of attacks"):
        compare(Smoothing(0.25, n=50).certify(G.base, X), ATTACKS)
    half = Smoothing(SIGMA, n=50, execution=Execution(dtype="bfloat16")).certify(G, X)
    with pytest.raises(UsageError, match="another function"):
        compare(half, ATTACKS)
