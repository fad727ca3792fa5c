"""The parts that rows are made of."""

import torch

from bounds.linear import Patch, Unit
from bounds.propagate.forms import Layout, by_sign


def test_by_sign_chooses_exactly() -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(5, 7, generator=g)
    a[0, :4] = torch.tensor([0.0, -0.0, torch.nan, torch.inf])
    above, below = torch.randn(1, 7, generator=g) * 1e30, torch.randn(5, 7, generator=g)
    assert torch.equal(by_sign(a, above, below), torch.where(a < 0, below, above))


def test_a_cost_is_no_less_than_the_product() -> None:
    g = torch.Generator().manual_seed(0)
    layout, shape = Layout(torch.tensor([0, 2]), 6), (3, 5, 4)
    top, left = (torch.randint(-3, 6, (12,), generator=g) for _ in range(2))
    windows = Patch(torch.randn(12, 3, 3, 2, generator=g).double(), top, left, shape).masked()
    units = Unit(torch.randint(60, (12,), generator=g), torch.randn(12, generator=g).double(), shape)
    for batch in (1, 3):
        x = torch.rand(batch, *shape, generator=g).double()
        least = layout.dot(windows, x, absolute=True)
        found = layout.cost(windows, x)
        assert (found >= least).all()
        assert (found > least).any()
        even = x.amax((2, 3), keepdim=True).expand_as(x)
        torch.testing.assert_close(found, layout.dot(windows, even, absolute=True))
        for rows in (units, windows.dense()):
            assert torch.equal(layout.cost(rows, x), layout.dot(rows, x, absolute=True))
