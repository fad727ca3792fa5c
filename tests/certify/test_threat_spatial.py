"""Transforms of images: what they do, that boxes enclose them, and that the judge wants their parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

import bounds
import certify
from certify.attacks import PGD, ParameterSearch
from certify.decide import evaluate
from certify.deterministic import CROWN, IBP
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.query import Query
from certify.run import Run
from certify.threat import Brightness, Contrast, Parametric, Rotation, Spatial, Translation
from certify.verdict import Verdict
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

VALID = (0.0, 1.0)
THREATS = [
    Rotation(25.0),
    Rotation(140.0),
    Translation(1.5),
    Spatial(rotation=10, translation=1),
    Spatial(brightness=0.2, contrast=0.3),
    Spatial(rotation=20, translation=0.5, brightness=0.1, contrast=0.5),
    Brightness(0.3),
    Contrast(0.5),
]


def images(dtype: torch.dtype = torch.float64, n: int = 3) -> Tensor:
    return uniform(n, 2, 5, 6, seed=1).to(dtype)


def drawn(threat: Parametric, n: int, seed: int) -> Tensor:
    """Allowed parameters, some of them at their ends."""
    unit = (3 * uniform(n, len(threat.limits), seed=seed) - 1.5).clamp(-1, 1)
    return unit * torch.tensor(list(threat.limits.values()), dtype=torch.float64)


def scipys(image: Tensor, degrees: float, down: float, across: float) -> Tensor:
    """Rotation about the centre, then translation, by another implementation."""
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    centre = (np.array(image.shape[-2:]) - 1) / 2
    offset = centre - matrix @ (centre + np.array([down, across]))
    planes = [affine_transform(p.numpy(), matrix, offset, order=1, mode="grid-constant") for p in image]
    return torch.from_numpy(np.stack(planes))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -2.0), (0.3, 0.8)])
@pytest.mark.parametrize("degrees", [0.0, 17.0, -90.0, 131.0])
def test_warps_are_those_of_another_implementation(degrees: float, shift: tuple[float, float]) -> None:
    x, threat = images(), Spatial(rotation=180, translation=3)
    parameters = torch.tensor([[degrees, *shift]], dtype=torch.float64).expand(3, -1)
    expected = torch.stack([scipys(image, degrees, *shift) for image in x])
    torch.testing.assert_close(threat.moved(x, parameters, VALID), expected, rtol=0, atol=1e-4)


def test_whole_pixels_and_quarter_turns_are_exact() -> None:
    x = uniform(2, 3, 5, 5, seed=3)
    moved = Translation(2).moved(x, torch.tensor([[1.0, -2.0]]).double().expand(2, -1), VALID)
    assert torch.equal(moved[..., 1:, :-2], x[..., :-1, 2:])
    assert (moved[..., 0, :] == 0).all()
    assert (moved[..., -2:] == 0).all()
    turned = Rotation(90).moved(x, torch.tensor([[90.0]]).double().expand(2, -1), VALID)
    assert torch.equal(turned, torch.rot90(x, -1, (-2, -1))) or torch.equal(
        turned, torch.rot90(x, 1, (-2, -1))
    )


@pytest.mark.parametrize("threat", [Brightness(0.4), Spatial(brightness=0.4)])
def test_brightness_adds_and_cuts(threat: Parametric) -> None:
    x = images()
    moved = threat.moved(x, torch.tensor([[0.4], [-0.4], [0.0]]).double(), VALID)
    assert torch.equal(moved, (x + torch.tensor([0.4, -0.4, 0]).double().view(3, 1, 1, 1)).clamp(0, 1))


@pytest.mark.parametrize("threat", [Contrast(0.5), Spatial(contrast=0.5)])
def test_contrast_scales_the_distance_from_the_mean(threat: Parametric) -> None:
    x = 0.25 + images() / 2
    moved = threat.moved(x, torch.tensor([[0.5], [-0.5], [0.0]]).double(), VALID)
    mean = x.mean((1, 2, 3), keepdim=True)
    assert moved.std() > 0
    factor = torch.tensor([1.5, 0.5, 1]).double().view(3, 1, 1, 1)
    torch.testing.assert_close(moved, (mean + factor * (x - mean)).clamp(0, 1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("threat", THREATS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("valid", [VALID, None])
def test_the_region_encloses_every_transform(
    threat: Parametric, dtype: torch.dtype, valid: tuple[float, float] | None
) -> None:
    x = images(dtype)
    region = threat.around(x, valid)
    for seed in range(60):
        points = threat.moved(x, drawn(threat, 3, seed), valid)
        assert points.dtype == dtype
        assert region.contains(points).all()
    zero = torch.zeros(3, len(threat.limits), dtype=torch.float64)
    torch.testing.assert_close(
        threat.moved(x, zero, valid), x, rtol=0, atol=1e-15 if dtype.itemsize > 4 else 0
    )


def test_the_box_of_a_translation_is_the_range_of_its_neighbours() -> None:
    x = uniform(2, 1, 6, 6, seed=4)
    box = Translation(1).around(x, VALID).box()
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    assert torch.equal(box.upper, torch.nn.functional.max_pool2d(padded, 3, 1))
    assert torch.equal(box.lower, -torch.nn.functional.max_pool2d(-padded, 3, 1))


@pytest.mark.parametrize("threat", THREATS, ids=repr)
def test_bits_do_not_depend_on_the_batch(threat: Parametric) -> None:
    x, parameters = images(torch.float32, 5), drawn(threat, 5, 2)
    together = threat.moved(x, parameters, VALID)
    for i in range(5):
        assert torch.equal(threat.moved(x[i : i + 1], parameters[i : i + 1], VALID)[0], together[i])
    assert threat.moved(x[:0], parameters[:0], VALID).shape == x[:0].shape


def network(dtype: torch.dtype = torch.float64) -> Query:
    """A random linear classifier of small images, and samples that it gets right."""
    weight, x = normal(3, 60, seed=5), images(dtype, 12)
    model = model_of(lambda z: (z - 0.5).flatten(1) @ weight.T.to(z), (2, 5, 6), 3, VALID)
    return Query(model, x, right_answers(model, x), Rotation(30.0), tuple(range(12)))


class Liar:
    """Brings given points and details as evidence."""

    claims = frozenset({Claim.FALSIFIED})

    def __init__(self, points: Tensor, details: list[dict[str, float]]) -> None:
        self.points, self.details = points, details

    def supports(self, query: Query) -> str | None:
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        found = zip(query.samples, self.points, self.details, strict=True)
        return [Evidence(s, "liar", witness=z, detail=dict(detail)) for s, z, detail in found]


@pytest.mark.parametrize("threat", [Rotation(90.0), Spatial(rotation=90, brightness=0.4)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_judge_makes_each_witness_again(threat: Parametric, dtype: torch.dtype) -> None:
    base = network(dtype)
    query = Query(base.model, base.x, base.y, threat, base.samples)
    found = ParameterSearch(50, 3).decide(query, Run())
    keep = torch.tensor([each.witness is not None for each in found])
    assert keep.sum() >= 4
    part = query[keep]
    points = torch.stack([each.witness for each in found if each.witness is not None])
    details = [{n: float(e.detail[n]) for n in threat.limits} for e in found if e.witness is not None]

    def counted(points: Tensor, details: list[dict[str, float]]) -> int:
        result = evaluate(query.model, part.x, part.y, threat, [Liar(points, details)])
        return sum(each.verdict is Verdict.FALSIFIED for each in result.samples)

    assert counted(points, details) == len(points)
    assert counted(points, [{} for _ in details]) == 0
    assert counted(points, [{**each, "rotation": each["rotation"] + 1e-3} for each in details]) == 0
    assert counted(points, [{**each, "rotation": math.nan} for each in details]) == 0
    assert counted(torch.nextafter(points, torch.ones_like(points)), details) == 0
    far = torch.tensor([[100.0, *[0.0] * (len(threat.limits) - 1)]] * len(points)).double()
    beyond = Spatial(rotation=100, brightness=0.4).moved(
        part.x, torch.cat([far[:, :1], far[:, :1] * 0], 1), VALID
    )
    assert counted(beyond, [{"rotation": 100.0, "brightness": 0.0}] * len(points)) == 0


def test_attacks_on_sets_say_what_to_use_and_the_other_way_round() -> None:
    query = network()
    for reason in (PGD().supports(query), certify.FGSM().supports(query)):
        assert reason is not None
        assert "ParameterSearch" in reason
    ball = Query(query.model, query.x, query.y, certify.Linf(0.1), query.samples)
    assert "try PGD" in str(ParameterSearch().supports(ball))
    assert ParameterSearch().decide(ball, Run())[0].witness is None


def test_certificates_hold_for_every_transform() -> None:
    """Certified margins against a search of the parameters; brightness gains from its exact set."""
    model = mlp((30, 12, 3), seed=3, valid=VALID)
    graph = model.graph
    assert graph is not None
    weights = [p for node in graph.nodes for p in node.params]
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(30, 12), torch.nn.LeakyReLU(), torch.nn.Linear(12, 3)
    )
    for parameter, value in zip(net.parameters(), weights, strict=True):
        parameter.data = value.float()
    loaded = certify.load(net, input_shape=(1, 5, 6))
    x = uniform(8, 1, 5, 6, seed=9).float()
    y = right_answers(loaded, x)
    threats: list[Parametric] = [Spatial(rotation=4, translation=0.1), Brightness(0.1), Contrast(0.2)]
    for threat in threats:
        query = Query(loaded, x, y, threat, tuple(range(8)))
        assert all(each.supports(query) is None for each in (CROWN(), IBP()))
        worst = [float(e.detail["smallest_margin"]) for e in ParameterSearch(500, 12).decide(query, Run())]
        for crown, ibp, seen in zip(
            CROWN().decide(query, Run()), IBP().decide(query, Run()), worst, strict=True
        ):
            assert crown.margin is not None
            assert ibp.margin is not None
            assert max(crown.margin, ibp.margin) <= seen + 1e-6
        evaluate(loaded, x, y, threat, [CROWN(), ParameterSearch(50, 5)])  # raises on a contradiction
    region = Brightness(0.1).around(x, VALID)
    spec = bounds.margins(y, 3)
    exact, box = (
        bounds.bound(loaded.graph, each, spec, method="crown").lower
        for each in (region, bounds.Box(region.box().lower, region.box().upper))
    )
    assert (exact >= box - 1e-5).all()
    assert (exact - box).mean() > 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rotation(181.0),
        lambda: Rotation(-1.0),
        lambda: Spatial(rotation=math.nan),
        lambda: Spatial(brightness=-0.1),
        lambda: ParameterSearch(0),
        lambda: Rotation(1.0).around(torch.zeros(2, 9)),
        lambda: Spatial(rotation=1).at(0.1),
    ],
)
def test_what_means_nothing_is_refused(make: object) -> None:
    with pytest.raises(UsageError):
        make()
