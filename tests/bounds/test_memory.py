"""Parts for the caches of a processor: all of an axis, in parts of about the size that fits."""

import pytest
import torch

from bounds.memory import _CACHED, cached


@pytest.mark.parametrize(
    ("fit", "multiple", "step"),
    [(25, 1, 25), (25, 16, 32), (14, 16, 16), (64, 16, 64), (8, 16, 8), (2, 16, 2), (1, 16, 1)],
)
def test_parts_are_round_where_they_stay_small(fit: int, multiple: int, step: int) -> None:
    x = torch.arange(100)
    with torch.no_grad():
        parts = cached(x, _CACHED // fit, multiple)
        assert torch.equal(torch.cat([x[part] for part in parts]), x)
    assert {len(x[part]) for part in parts[:-1]} == {step}


def test_one_part_with_gradients_or_where_all_fits() -> None:
    x = torch.arange(100)
    assert cached(x, _CACHED) == [slice(None)]
    with torch.no_grad():
        assert cached(x, _CACHED // 100) == [slice(None)]
