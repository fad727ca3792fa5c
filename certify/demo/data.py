"""The demo's images: 8x8 grey digits (Alpaydin & Kaynak 1998, UCI, CC BY 4.0), as scikit-learn ships them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TEST_SIZE = 200


@dataclass(frozen=True, eq=False)
class Split:
    """x: (n, 1, 8, 8) float32 in [0, 1], sixteenths; y: (n,) int64 in [0, 10)."""

    x: Tensor
    y: Tensor


def splits(seed: int = 0) -> tuple[Split, Split]:
    """The images to train on, and the ``TEST_SIZE`` that the demo evaluates.

    Needs the extra ``train`` (scikit-learn).
    """
    from sklearn.datasets import load_digits  # the demo itself runs without it

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x = torch.from_numpy((digits.images[order, None] / 16).astype(np.float32))
    y = torch.from_numpy(digits.target[order].astype(np.int64))
    return Split(x[TEST_SIZE:], y[TEST_SIZE:]), Split(x[:TEST_SIZE], y[:TEST_SIZE])
