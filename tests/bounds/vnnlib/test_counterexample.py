"""The counterexample text reads back as the same numbers."""

import re

import pytest
import torch

from bounds.errors import InvalidInput
from bounds.vnnlib import format_counterexample


def test_text_reads_back_exactly() -> None:
    x = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[1e-30, -2.5]])
    text = format_counterexample(x, y)
    assert re.fullmatch(r"\(\(X_0 \S+\)(\n \([XY]_\d+ \S+\))*\)", text)
    pairs = re.findall(r"\(([XY]_\d+) (\S+?)\)", text)
    assert [name for name, _ in pairs] == [f"X_{i}" for i in range(6)] + ["Y_0", "Y_1"]
    values = torch.tensor([float(value) for _, value in pairs], dtype=torch.float64).float()
    assert torch.equal(values, torch.cat([x.flatten(), y.flatten()]))


def test_nan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Y of a counterexample"):
        format_counterexample(torch.zeros(1), torch.tensor([torch.nan]))
