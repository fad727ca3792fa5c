"""Every activation, inputs cut and neurons cut: verdicts beside a dense grid over the one number inside."""

import pytest
import torch
from torch import Tensor

import bounds
from bounds.ops.convex import Softplus
from bounds.ops.elementwise import Shift
from bounds.ops.sshape import Tanh
from bounds.search import Status, verify

from ...strategies import Net
from ..cases_pointwise import CASES, Case, anywhere, within_a_period
from .test_verify import box, check_witness, shifted, spec_of

POINTS = 20001
# Values at single points, or jumps, that a grid does not see: what is verified must still hold on the grid.
JUMPS = ("Floor", "Ceil", "Round", "Trunc", "Sign", "Step", "Threshold", "Derivative", "Slopes", "Shrink")


# The slopes of a PReLU come as a weight, not with the operator: it is a LeakyReLU in these tables.
ASKED = [case for case in CASES if "PReLU" not in repr(case.op)]


def network(case: Case, seed: int, inputs: int) -> bounds.Graph:
    """The operator once between dense layers, after what leads into its domain, and a ReLU behind it."""
    net = Net((inputs,), seed)
    if inputs > 1:
        net.linear(1)
    net.linear(4)
    if case.domain is within_a_period:
        net.add(Tanh())
    elif case.domain is not anywhere:
        net.add(Softplus()).add(Shift(), torch.full((4,), 0.2))
    return net.add(case.op).linear(3).relu().linear(2).build().to(torch.float64)


def on_grid(graph: bounds.Graph, region: bounds.Box) -> Tensor:
    """Outputs along the segment between the two corners where the single number is least and largest."""
    if graph.input_shape == (1,):
        ends = region.lower[0], region.upper[0]
    else:
        weight = graph.nodes[1].params[0][0]
        ends = (
            torch.where(weight > 0, region.lower[0], region.upper[0]),
            torch.where(weight > 0, region.upper[0], region.lower[0]),
        )
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)[:, None]
    return graph(ends[0] + t * (ends[1] - ends[0]))


@pytest.mark.parametrize("inputs", [1, 14])
@pytest.mark.parametrize("case", ASKED, ids=lambda case: repr(case.op))
def test_verdicts_are_those_of_a_grid(case: Case, inputs: int) -> None:
    jumps = type(case.op).__name__ in JUMPS
    for seed in range(2):
        graph = network(case, seed, inputs)
        region, spec = box(graph, seed, 0.6 if inputs == 1 else 0.15), spec_of(graph, seed, None)
        values = spec.worst(spec.evaluate(on_grid(graph, region)))
        least, width = float(values.min()), float(values.max() - values.min())
        # Where neurons are cut one by one, waves that move together are the slowest to be told apart.
        share = 0.15 if "Cos" in repr(case.op) or "Sin" in repr(case.op) else 0.02
        for off in (share * width + 1e-3, -0.02 * width - 1e-3):
            asked = shifted(spec, off - least)
            [found] = verify(graph, region, asked, timeout=0.5 if jumps and off > 0 else 30)
            if off < 0:
                assert found.status is Status.FALSIFIED, (seed, found)
                check_witness(graph, region, asked, found)
            else:
                assert jumps or found.status is Status.VERIFIED, (seed, found)
