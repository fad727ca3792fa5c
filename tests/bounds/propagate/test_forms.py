"""The parts that rows are made of."""

import torch

from bounds.propagate.forms import by_sign


def test_by_sign_chooses_exactly() -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(5, 7, generator=g)
    a[0, :4] = torch.tensor([0.0, -0.0, torch.nan, torch.inf])
    above, below = torch.randn(1, 7, generator=g) * 1e30, torch.randn(5, 7, generator=g)
    assert torch.equal(by_sign(a, above, below), torch.where(a < 0, below, above))
