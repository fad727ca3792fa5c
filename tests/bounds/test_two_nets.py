"""Two nets that separate the levels: the first tests of what a printed "verified" means."""

import pytest
import torch

import bounds
from bounds.ops.elementwise import Shift
from bounds.ops.relu import LeakyReLU


def two_shifts(m: float) -> bounds.Graph:
    """b = relu(relu(x + m) - m) for one scalar x."""
    builder = bounds.Builder((1,))
    shift = torch.tensor([m])
    a = builder.apply(LeakyReLU(), [builder.apply(Shift(), [builder.input], (shift,))])
    b = builder.apply(LeakyReLU(), [builder.apply(Shift(), [a], (-shift,))])
    return builder.build(b)


REGION = bounds.Box(torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[0.4]], dtype=torch.float64))


def margin(graph: bounds.Graph, sign: float, offset: float, method: str, level: str) -> float:
    """The bound of ``sign * b + offset``."""
    spec = bounds.Spec(torch.tensor([[[sign]]]), torch.tensor([[offset]]))
    return float(bounds.bound(graph, REGION, spec, method, torch.float64, level).lower)


@pytest.mark.parametrize("method", ["ibp", "forward", "crown-ibp", "crown"])
def test_true_in_exact_arithmetic_but_false_in_float32_execution(method: str) -> None:
    graph = two_shifts(2.0**25)
    executed = graph(torch.tensor([[0.35]], dtype=torch.float32))
    assert float(executed) - 0.25 <= 0  # a float32 execution violates the property
    assert margin(graph, 1.0, -0.25, method, "float") == pytest.approx(0.05, abs=1e-6)
    assert margin(graph, 1.0, -0.25, method, "real") == pytest.approx(0.05, abs=1e-6)
    assert margin(graph, 1.0, -0.25, method, "deployed") <= 0


@pytest.mark.parametrize("method", ["ibp", "forward", "crown-ibp", "crown"])
def test_false_in_exact_arithmetic_though_float_executions_agree(method: str) -> None:
    graph = two_shifts(2.0**54)
    for dtype in (torch.float32, torch.float64):
        executed = graph(torch.tensor([[0.35]], dtype=dtype))
        assert 0.25 - float(executed) == 0.25
    assert margin(graph, -1.0, 0.25, method, "real") <= 0
    assert margin(graph, -1.0, 0.25, method, "deployed") <= 0


def test_plain_float_interval_analysis_is_fooled() -> None:
    assert margin(two_shifts(2.0**54), -1.0, 0.25, "ibp", "float") == pytest.approx(0.25)
