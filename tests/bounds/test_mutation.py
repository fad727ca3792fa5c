"""Rung 8: bugs of the kind that verifiers have had, planted one at a time, must fail the ladder's checks."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import bounds
import bounds.propagate.crown as crown
import bounds.propagate.facts as facts
import bounds.propagate.rows as rows
from bounds.interval import Interval
from bounds.ops.conv import Conv
from bounds.ops.linear import Linear
from bounds.relaxation import Lines

from . import test_ladder as ladder
from . import test_two_nets as two_nets

Plant = Callable[[pytest.MonkeyPatch], None]


def ladder_checks() -> None:
    """A compact ladder: exactness, the separating nets, dominance up to the exact optimum (the slowest)."""
    for norm in (1, torch.inf):
        ladder.test_exact_on_an_affine_network("crown", norm)
    two_nets.test_false_in_exact_arithmetic_though_float_executions_agree("crown")
    two_nets.test_true_in_exact_arithmetic_but_false_in_float32_execution("ibp")
    for family in ("mlp", "cnn", "resnet"):
        ladder.test_exact_where_every_neuron_is_stable(family, "crown")
    ladder.test_intermediate_bounds_lie_outside_their_exact_range()
    for family in ("mlp", "cnn", "resnet"):
        ladder.test_dominance_up_to_enumeration(family)


def lines_changed(change: Callable[[Lines], Lines]) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        original = facts.lines
        patch.setattr(facts, "lines", lambda op, x, rounded: change(original(op, x, rounded)))

    return plant


def one_intercept_lost(lines: Lines) -> Lines:
    kept = lines.upper_intercept.clone()
    kept.view(len(kept), -1)[:, 0] = 0
    return replace(lines, upper_intercept=kept)


def bias_dropped(op: type[Linear] | type[Conv]) -> Plant:
    """Only backward rows ask an operator for its offset; the forward value has its own."""
    return lambda patch: patch.setattr(op, "offset", lambda self, params: None)


def wrong_dual_norm(patch: pytest.MonkeyPatch) -> None:
    original = bounds.Ball.support

    def support(self: bounds.Ball, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        if self.is_box:
            return original(self, a, samples, rounded)
        flat, centre = a.flatten(2), self.center.flatten(1)[samples][:, :, None]
        return (flat @ centre).squeeze(2) + self.eps * flat.abs().sum(2) ** 0

    patch.setattr(bounds.Ball, "support", support)


def pad_swapped(patch: pytest.MonkeyPatch) -> None:
    original = Conv.adjoint_unit

    def adjoint_unit(self: Conv, *rest: object) -> object:
        pulled = original(self, *rest)
        return None if pulled is None else tuple(replace(p, top=p.top + 1) for p in pulled)

    patch.setattr(Conv, "adjoint_unit", adjoint_unit)


def dense_pad_swapped(patch: pytest.MonkeyPatch) -> None:
    original = Conv.adjoint
    patch.setattr(Conv, "adjoint", lambda self, *rest: tuple(g.roll(1, -1) for g in original(self, *rest)))


def cushion_lost(patch: pytest.MonkeyPatch) -> None:
    original = rows.Forms.minus
    patch.setattr(rows.Forms, "minus", lambda self, cost: original(self, cost * 0))
    patch.setattr(Interval, "widened", lambda self, cushion: self)
    patch.setattr(facts, "gamma", lambda n, u: 0.0)


def radius_forgets_sign(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Linear, "magnitudes", Linear.weights)
    patch.setattr(Linear, "absolute", lambda self, xs, weights: self.linear(xs, weights).abs())


def ends_swapped(patch: pytest.MonkeyPatch) -> None:
    original = crown.lower_bounds

    def halved(*arguments: object, **options: object) -> Tensor:
        return original(*arguments, **options) * 0.95

    patch.setattr(crown, "lower_bounds", halved)


MUTANTS: dict[str, Plant] = {
    "upper slope 5% low": lines_changed(lambda a: replace(a, upper_slope=a.upper_slope * 0.95)),
    "lower slope 5% high": lines_changed(lambda a: replace(a, lower_slope=a.lower_slope * 1.05)),
    "one intercept lost": lines_changed(one_intercept_lost),
    "bias of linear layers dropped": bias_dropped(Linear),
    "bias of convolutions dropped": bias_dropped(Conv),
    "wrong dual norm": wrong_dual_norm,
    "window one row off": pad_swapped,
    "dense adjoint one column off": dense_pad_swapped,
    "rounding not counted": cushion_lost,
    "radius with signed weights": radius_forgets_sign,
    "bounds shrunk by 5%": ends_swapped,
}


def test_the_checks_pass_without_a_bug() -> None:
    ladder_checks()


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_bug_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        ladder_checks()
