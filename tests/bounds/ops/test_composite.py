"""What every composite operator must hold: its parts are the same function, and bounds enclose it."""

import itertools

import pytest
import torch

import bounds
from bounds.interval import Interval
from bounds.kinds import Composite, Known

from .cases_composite import Case, cases
from .networks import WIDTH, behind_a_layer, draw, extremes
from .test_affine import subclasses

CASES = cases()
NOISE = 1e-9
METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")

every = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op!r}-{case.ins}"[:80])


def test_every_composite_operator_has_a_case() -> None:
    covered = {type(case.op) for case in CASES}
    missing = {kind.__name__ for kind in subclasses(Composite) if kind not in covered}
    assert not missing, f"add cases to tests/bounds/ops/cases_composite.py for {missing}"


def network(case: Case) -> bounds.Graph:
    return behind_a_layer(case.op, case.ins, tuple(p.double() for p in case.params), seed=3)


@every
def test_parts_are_the_same_function(case: Case) -> None:
    graph = network(case)
    parts = graph.expanded()
    assert not any(isinstance(node.op, Composite) for node in parts.nodes)
    x = torch.cat([draw(20, WIDTH, seed=5), 4 * draw(20, WIDTH, seed=6)])
    torch.testing.assert_close(parts(x), graph(x), rtol=1e-12, atol=1e-12)


@every
def test_samples_stay_apart(case: Case) -> None:
    xs = tuple(draw(3, *shape, seed=11 + i) for i, shape in enumerate(case.ins))
    params = tuple(p.double() for p in case.params)
    together = case.op.value(xs, params)
    for i in range(3):
        alone = case.op.value(tuple(x[i : i + 1] for x in xs), params)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-12, atol=1e-12)


@every
@pytest.mark.parametrize("level", ["float", "real"])
def test_bounds_enclose_and_dominate(case: Case, level: str) -> None:
    graph = network(case)
    ball = bounds.Ball(draw(2, WIDTH, seed=7), case.eps)
    least, greatest = extremes(graph, ball, seed=9)
    found = [bounds.bound(graph, ball, method=method, level=level) for method in METHODS]
    for b in (*found, bounds.bound(graph, ball, method="forward", level=level)):
        assert bool(b.lower.isfinite().all()) and bool(b.upper.isfinite().all())
        slack = 0.0 if level == "real" else 1e-12
        assert bool((b.lower <= least + slack).all()) and bool((b.upper >= greatest - slack).all())
    for weaker, stronger in itertools.pairwise(found):
        assert bool((weaker.lower <= stronger.lower + NOISE).all())
        assert bool((weaker.upper >= stronger.upper - NOISE).all())


@every
def test_bounds_of_a_point_are_its_value(case: Case) -> None:
    graph = network(case)
    x = draw(2, WIDTH, seed=13)
    for method in ("ibp", "crown"):
        b = bounds.bound(graph, bounds.Ball(x, 0.0), method=method)
        torch.testing.assert_close(b.lower, graph(x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(b.upper, graph(x), rtol=1e-9, atol=1e-9)


@every
def test_deployed_bounds_only_of_faithful_parts(case: Case) -> None:
    graph = network(case)
    ball = bounds.Ball(draw(2, WIDTH, seed=7), case.eps)
    if not case.op.faithful:
        with pytest.raises(bounds.Unsupported, match=f"{case.op.name}.*ask for level 'real'"):
            bounds.bound(graph, ball, method="crown", level="deployed")
        return
    deployed = bounds.bound(graph, ball, method="crown", level="deployed")
    real = bounds.bound(graph, ball, method="crown", level="real")
    assert bool((deployed.lower <= real.lower).all()) and bool((deployed.upper >= real.upper).all())
    single = graph.to(torch.float32)
    x = ball.box().lower.float()
    y = single(x).double()
    assert bool((deployed.lower <= y + 1e-6).all()) and bool((deployed.upper >= y - 1e-6).all())


@every
def test_known_ranges_hold_on_boxes(case: Case) -> None:
    """``known`` encloses the values in any box; checked apart, where no other bound can hide an error."""
    graph = network(case).expanded()
    for node in graph.nodes:
        if not isinstance(node.op, Known):
            continue
        shapes = [graph.nodes[i].shape for i in node.inputs[1:]]
        centres = [draw(40, *shape, seed=17 + i) for i, shape in enumerate(shapes)]
        radii = [draw(40, *shape, seed=27 + i).abs() for i, shape in enumerate(shapes)]
        known = node.op.composite.known([Interval(c - r, c + r) for c, r in zip(centres, radii, strict=True)])
        if known is None:
            continue
        for seed in range(20):
            points = [
                c + r * draw(*c.shape, seed=seed).clamp(-1, 1) for c, r in zip(centres, radii, strict=True)
            ]
            y = node.op.composite.value(tuple(points), node.params)
            assert bool((known.lower <= y).all()) and bool((y <= known.upper).all())
