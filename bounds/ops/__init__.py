"""All operators, one file per family. Importing this package fills the registries of both front ends."""

import importlib
import pkgutil

from bounds.ops.registry import ONNX, TORCH, Call

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "__main__":
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["ONNX", "TORCH", "Call"]
