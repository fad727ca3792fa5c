"""How a classifier is executed while it is sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.smoothing.engine import Classifier

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """Speed for precision; a certificate speaks of the classifier as it was executed, so records name this.

    dtype: "float32" (the model as it is), or "bfloat16" or "float16" by autocast. channels_last: memory
    format of images, (rows, channels, height, width). compile: through ``torch.compile``, with batches of one
    shape, on a GPU with CUDA graphs.
    Raises ``UsageError`` for another dtype.
    """

    dtype: str = "float32"
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise UsageError(f"dtype {self.dtype!r} is not offered; use one of {', '.join(_DTYPES)}")

    def of(self, forward: Classifier, device: str) -> Classifier:
        """The classifier executed so."""
        kind, dtype = torch.device(device).type, _DTYPES[self.dtype]
        inner = forward
        if self.compile:
            inner = torch.compile(forward, mode="reduce-overhead" if kind == "cuda" else None, dynamic=False)

        def executed(x: Tensor) -> Tensor:
            if self.channels_last and x.dim() == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
                return inner(x)

        return executed
