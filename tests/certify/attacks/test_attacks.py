"""Attacks: exact on linear models, inside the set without tolerance, independent of batches."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import bounds
from certify.attacks import BIM, FGSM, LOSSES, MIFGSM, PGD
from certify.attacks.base import Attack, Problem, search
from certify.attacks.losses import cross_entropy
from certify.decide import refutes
from certify.errors import UsageError
from certify.evidence import Decider
from certify.query import Query
from certify.run import Run
from certify.threat import L0, L1, L2, Budgeted, Linf, Patch, Pixels, Threat
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

DUAL = {math.inf: 1, 2: 2, 1: math.inf}
THREATS = [Linf(0.2), L2(0.3), L1(0.4), L0(1)]


def question(threat: Threat, dtype: torch.dtype = torch.float64, n: int = 12) -> Query:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(n, 2, seed=5).to(dtype)
    return Query(model, x, right_answers(model, x), threat, tuple(range(100, 100 + n)))


@pytest.mark.parametrize("threat", THREATS, ids=repr)
class TestFGSM(AttackConformance):
    weak = True

    @pytest.fixture(autouse=True)
    def _threat(self, threat: Threat) -> None:
        self.budget = threat

    def decider(self) -> Decider:
        return FGSM()

    def threat(self) -> Budgeted:
        return self.budget


@pytest.mark.parametrize(
    "attack",
    [
        PGD(10),
        PGD(5, 2, targets=2),
        PGD(10, loss="margin"),
        PGD(10, schedule="cosine"),
        PGD(10, schedule="constant", step_size=0.2),
        BIM(),
        MIFGSM(),
    ],
    ids=repr,
)
class TestPGD(AttackConformance):
    @pytest.fixture(autouse=True)
    def _attack(self, attack: Decider) -> None:
        self.attack = attack

    def decider(self) -> Decider:
        return self.attack


@pytest.mark.parametrize("threat", [L2(0.3), L1(0.4)], ids=repr)
class TestPGDInOtherNorms(AttackConformance):
    @pytest.fixture(autouse=True)
    def _threat(self, threat: Threat) -> None:
        self.budget = threat

    def decider(self) -> Decider:
        return PGD(10)

    def threat(self) -> Budgeted:
        return self.budget


def linear_problem(classes: int, region: bounds.InputSet, start: Tensor) -> tuple[Problem, Tensor]:
    """A linear model that no attack breaks, and its row differences w_0 - w_j (classes - 1, d)."""
    d = start.shape[1]
    weight = normal(classes, d, seed=7)
    offset = torch.zeros(classes, dtype=torch.float64)
    offset[0] = 100.0
    spec = bounds.margins(torch.zeros(len(start), dtype=torch.long), classes).to(torch.float64)
    problem = Problem(
        lambda z: z @ weight.T + offset, region, spec, start, tuple(range(len(start))), "linear", Run()
    )
    return problem, weight[:1] - weight[1:]


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_pgd_finds_the_exact_optimum_of_a_linear_model(norm: float, classes: int, loss: str) -> None:
    x, eps = normal(5, 6, seed=3), 0.7
    problem, rows = linear_problem(classes, bounds.Ball(x, eps, norm), x)
    worst = x @ rows.T + 100 - eps * torch.linalg.vector_norm(rows, ord=DUAL[norm], dim=1)
    found = search(PGD(steps=60, loss=loss, targets=classes - 1), problem)
    assert not found.broken.any()
    torch.testing.assert_close(found.deciding, worst.min(1).values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_fgsm_is_exact_on_a_linear_model_with_two_classes(norm: float) -> None:
    x, eps = normal(5, 6, seed=3), 0.7
    problem, rows = linear_problem(2, bounds.Ball(x, eps, norm), x)
    worst = x @ rows.T + 100 - eps * torch.linalg.vector_norm(rows, ord=DUAL[norm], dim=1)
    torch.testing.assert_close(search(FGSM(), problem).deciding, worst[:, 0], rtol=0, atol=1e-12)


def test_momentum_gathers_gradients_of_mean_size_one() -> None:
    """By hand on a quadratic: velocity <- decay velocity + gradient / mean |gradient|, steps of its sign."""
    x, eps, steps = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64), 0.5, 4
    target = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    seen: list[Tensor] = []

    def forward(z: Tensor) -> Tensor:
        seen.append(z.detach())
        return torch.stack([100 + ((z - target) ** 2).sum(1), torch.zeros_like(z[:, 0])], dim=1)

    spec = bounds.margins(torch.zeros(1).long(), 2).to(torch.float64)
    for attack in (MIFGSM(steps), MIFGSM(steps, decay=0.5), BIM(steps)):
        seen.clear()
        search(attack, Problem(forward, bounds.Ball(x, eps), spec, x, (0,), "k", Run()))
        points, velocity = [x], torch.zeros_like(x)
        for _ in range(steps):
            downhill = -2 * (points[-1] - target)
            velocity = attack.decay * velocity + downhill / downhill.abs().mean()
            points.append((points[-1] + eps / steps * velocity.sign()).clamp(x - eps, x + eps))
        torch.testing.assert_close(torch.cat(seen), torch.cat(points))


def test_attacks_are_exact_in_a_clipped_cube_and_in_a_box_of_mixed_widths() -> None:
    x = uniform(5, 6, seed=4)
    lower, upper = x - uniform(5, 6, seed=5) * 10 ** normal(5, 6, seed=6), x + uniform(5, 6, seed=7)
    for region in (bounds.Ball(x, 0.5, math.inf, clip=(0.0, 1.0)), bounds.Box(lower, upper)):
        problem, (row,) = linear_problem(2, region, x)
        box = region.box()
        worst = torch.where(row > 0, box.lower, box.upper) @ row + 100
        for attack in (FGSM(), PGD(steps=20)):
            torch.testing.assert_close(search(attack, problem).deciding, worst, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("threat", [L0(4), Pixels(2), Patch(2)], ids=repr)
def test_attacks_on_a_part_of_an_image_are_exact_on_a_linear_model(threat: Threat) -> None:
    x, row = uniform(6, 2, 3, 4, seed=3), normal(2, 3, 4, seed=4)
    region = threat.around(x, (0.0, 1.0))
    spec = bounds.margins(torch.zeros(6, dtype=torch.long), 2).to(torch.float64)

    def forward(z: Tensor) -> Tensor:
        return torch.stack([100 + (z * row).flatten(1).sum(1), torch.zeros_like(z[:, 0, 0, 0])], dim=1)

    rows = row.expand(6, 1, 2, 3, 4)
    worst = 100 - region.support(-rows, torch.arange(6))[:, 0]
    assert (worst < forward(x)[:, 0] - 0.5).all()
    for attack in (FGSM(), PGD(steps=60, restarts=3)):
        found = search(attack, Problem(forward, region, spec, x, tuple(range(6)), "part", Run()))
        assert region.contains(found.points).all()
        assert (found.deciding >= worst - 1e-9).all()
        torch.testing.assert_close(found.deciding, worst, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", [2, 1])
def test_pgd_comes_close_to_the_optimum_in_a_clipped_ball(norm: float) -> None:
    x, eps = uniform(8, 6, seed=4), 0.8
    problem, (row,) = linear_problem(2, bounds.Ball(x, eps, norm, clip=(0.0, 1.0)), x)
    exact = 100 + (x @ row) + _smallest_in_ball_and_cube(row, x, eps, norm)
    pgd = search(PGD(100), problem).deciding
    assert (pgd >= exact - 1e-9).all()
    assert (pgd <= exact + 0.05 * (100 + x @ row - exact)).all()


def _smallest_in_ball_and_cube(row: Tensor, x: Tensor, eps: float, norm: float) -> Tensor:
    """min row . d over ||d|| <= eps and x + d in the cube: greedy for 1, bisection on the scale for 2."""
    low, high = -x, 1 - x
    if norm == 1:
        gain, order = row.abs(), row.abs().argsort(descending=True)
        room = torch.where(row > 0, x, 1 - x)
        left, total = torch.full((len(x),), eps, dtype=x.dtype), torch.zeros(len(x), dtype=x.dtype)
        for j in order.tolist():
            spent = torch.minimum(left, room[:, j])
            left, total = left - spent, total - gain[j] * spent
        return total
    short, long = torch.zeros(len(x), 1, dtype=x.dtype), torch.full((len(x), 1), 1e6, dtype=x.dtype)
    for _ in range(200):
        middle = (short + long) / 2
        inside = (-middle * row).clamp(low, high).norm(dim=1, keepdim=True) <= eps
        short, long = torch.where(inside, middle, short), torch.where(inside, long, middle)
    return (-short * row).clamp(low, high) @ row


class Recorder(nn.Module):
    """A small random classifier that keeps every input it has seen."""

    def __init__(self, d: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.net = nn.Linear(d, 3, dtype=dtype)
        self.net.weight.data = normal(3, d, seed=8, dtype=dtype)
        self.net.bias.data = torch.tensor([100.0, 0.0, 0.0], dtype=dtype)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return self.net(x)


@pytest.mark.parametrize("attack", [FGSM(), PGD(7, restarts=2, targets=1)], ids=repr)
@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("eps", [0.0, 1e-9, 2 / 255, 0.3, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_point_looked_at_lies_in_the_set(
    attack: Attack, norm: float, eps: float, dtype: torch.dtype
) -> None:
    x = uniform(8, 9, seed=2, dtype=dtype)
    x[:, 0], x[:, 1] = 0.0, 1.0
    for clip in (None, (0.0, 1.0)):
        region, net = bounds.Ball(x, eps, norm, clip), Recorder(9, dtype)
        spec = bounds.margins(torch.zeros(8, dtype=torch.long), 3).to(dtype)
        search(attack, Problem(net, region, spec, x, tuple(range(8)), repr(attack), Run()))
        assert len(net.seen) > 1
        for points in net.seen:
            assert region.contains(points).all()


def test_parameters_get_no_gradients_and_the_mode_stays() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)).eval()
    query = Query(
        model_of(net, (2,), 3), torch.rand(4, 2), torch.tensor([0, 1, 2, 0]), Linf(0.1), (0, 1, 2, 3)
    )
    for attack in (FGSM(), PGD(3)):
        attack.decide(query, Run())
    assert all(p.grad is None for p in net.parameters())
    assert not any(module.training for module in net.modules())


def test_random_starts_differ_by_attempt_sample_and_seed_but_not_by_batch() -> None:
    x = torch.full((4, 5), 0.5)
    spec = bounds.margins(torch.zeros(4, dtype=torch.long), 3)

    def starts(ids: tuple[int, ...], stage: str, seed: int) -> Tensor:
        keep = slice(0, len(ids))
        region = bounds.Ball(x[keep], 0.1)
        return Problem(lambda z: z, region, spec, x[keep], ids, "k", Run(seed=seed)).random_points(stage)

    together = starts((1, 2, 3, 4), "start 0", 0)
    torch.testing.assert_close(starts((3,), "start 0", 0)[0], together[2], rtol=0, atol=0)
    others = [*together, starts((1,), "start 1", 0)[0], starts((1,), "start 0", 1)[0]]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(others, 2))
    assert ((together - x).abs().amax(1) > 0.02).all()


def test_surrogate_cross_entropy_is_that_of_scaled_logits_and_does_not_vanish() -> None:
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    spec = bounds.margins(labels, 4).to(torch.float64)
    raw = normal(6, 4, seed=1)
    logits = (raw * (30 / spec.evaluate(raw).abs().amax(1, keepdim=True))).requires_grad_()
    (true,) = torch.autograd.grad(nn.functional.cross_entropy(logits, labels, reduction="sum"), logits)
    (ours,) = torch.autograd.grad(cross_entropy(spec.evaluate(logits)).sum(), logits)
    kept = true.norm(dim=1) > 1e-9  # elsewhere the true one has vanished
    assert kept.sum() >= 3
    direction = nn.functional.normalize
    torch.testing.assert_close(direction(ours)[kept], direction(true)[kept], rtol=0, atol=1e-6)
    values = nn.functional.softplus(cross_entropy(spec.evaluate(logits)))
    torch.testing.assert_close(values, nn.functional.cross_entropy(logits, labels, reduction="none"))
    for scale in (1e-4, 1e3):
        torch.testing.assert_close(
            cross_entropy(scale * spec.evaluate(raw)), cross_entropy(spec.evaluate(raw))
        )

    sure = torch.tensor([[200.0, 0.0, 1.0]], requires_grad=True)
    (ours,) = torch.autograd.grad(
        cross_entropy(bounds.margins(torch.tensor([0]), 3).evaluate(sure)).sum(), sure
    )
    assert ours.abs().max() > 0.1


def test_margin_loss_is_the_negated_smallest_margin() -> None:
    logits, labels = normal(6, 4, seed=1), torch.tensor([0, 1, 2, 3, 0, 1])
    values = bounds.margins(labels, 4).to(torch.float64).evaluate(logits)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    torch.testing.assert_close(LOSSES["margin"](values), others - logits.gather(1, labels[:, None])[:, 0])


def test_gradients_that_are_nan_do_not_move_a_point() -> None:
    x, seen = torch.zeros(3, 2), []

    def forward(z: Tensor) -> Tensor:
        seen.append(z.detach())
        flat = (z * 0).sqrt()  # its derivative at 0 is 0 * inf
        return torch.cat([1 + flat[:, :1], flat[:, 1:]], dim=1)

    spec = bounds.margins(torch.zeros(3, dtype=torch.long), 2)
    search(PGD(4), Problem(forward, bounds.Ball(x, 0.1), spec, x, (0, 1, 2), "k", Run()))
    assert len(seen) == 5
    assert all(torch.equal(points, seen[0]) for points in seen)


def test_more_restarts_and_targets_never_find_less() -> None:
    query = question(L2(0.15), n=40)
    weak, strong = (
        {e.sample for e in attack.decide(query, Run()) if e.witness is not None}
        for attack in (FGSM(), PGD(20, restarts=2, targets=2))
    )
    assert weak <= strong


def test_targets_reach_a_class_that_the_untargeted_loss_is_led_away_from() -> None:
    """Class 1 is nearest at most starts but a dead end; class 2 is reached by going the other way."""

    def forward(z: Tensor) -> Tensor:
        a = z[:, 0]
        return torch.stack([torch.zeros_like(a), (a - 2).clamp(max=-0.1), -1 - 3 * a], dim=1)

    query = Query(
        model_of(forward, (1,), 3),
        torch.full((20, 1), 1.5),
        torch.zeros(20).long(),
        Linf(2.0),
        tuple(range(20)),
    )
    plain, targeted = (
        [e.witness is not None for e in PGD(20, step_size=0.2, loss="margin", targets=t).decide(query, Run())]
        for t in (0, 2)
    )
    assert sum(plain) < 10
    assert all(targeted)


def test_falsify_searches_any_specification() -> None:
    """|z| <= 1 and (y0 > 0 or y1 > 0) and y2 > -3, where y = (z0 - 0.5, z1 - 0.5, z0 + z1)."""
    clause = torch.tensor([[0, 0, 1]])
    spec = bounds.Spec(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 3.0]]), clause)

    def forward(z: Tensor) -> Tensor:
        return torch.stack([z[:, 0] - 0.5, z[:, 1] - 0.5, z.sum(1)], dim=1)

    high = bounds.Box(torch.full((1, 2), 0.6), torch.ones(1, 2))
    wide = bounds.Box(torch.tensor([[0.0, 0.6], [-1.0, -1.0]]), torch.ones(2, 2))
    for attack in (PGD(20), PGD(20, targets=1, loss="margin")):
        assert attack.falsify(forward, high, spec, Run()) is None
        witness = attack.falsify(forward, wide, spec, Run())
        assert witness is not None
        assert witness.shape == (2,)
        assert refutes(forward, wide, spec, witness.expand(2, 2)).tolist() == [False, True]


def test_outputs_that_are_no_numbers_are_no_success_and_are_noted() -> None:
    x = torch.zeros(8, 1)
    spec = bounds.margins(torch.zeros(8).long(), 2)

    def forward(z: Tensor) -> Tensor:
        one = torch.ones_like(z[:, 0])
        return torch.stack([one, torch.where(z[:, 0] > 0.05, torch.nan, z[:, 0])], dim=1)

    found = search(PGD(5), Problem(forward, bounds.Ball(x, 0.1), spec, x, tuple(range(8)), "k", Run()))
    assert not found.broken.any()
    assert found.nonfinite.any()
    assert (found.points <= 0.05).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"restarts": 0}, "restarts"),
        ({"targets": -1}, "targets"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": math.nan}, "step_size"),
        ({"loss": "hinge"}, "cross-entropy"),
        ({"schedule": "steps"}, "cosine"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        PGD(**arguments)


def test_a_model_without_gradients_is_not_supported() -> None:
    model = model_of(lambda z: (z > 0.5).float())
    query = Query(model, torch.zeros(1, 2), torch.tensor([0]), Linf(0.1), (0,))
    reason = PGD().supports(query)
    assert reason is not None
    assert "no gradient" in reason
