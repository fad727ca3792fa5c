"""One module from one file, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from certify.errors import ArtefactRejected, UsageError
from certify.loading.checkpoint import read_weights
from certify.loading.limits import MAX_BYTES, check_file
from certify.loading.module import build, fill, frozen_copy
from certify.loading.program import TRUST, program_kind, read_program

_WEIGHTS = (".safetensors", ".pt", ".pth")
_KNOWN = (".onnx", *_WEIGHTS, ".pt2", ".skops")


def read_module(
    path: Path,
    factory: str | None,
    input_shape: Sequence[int] | None,
    *,
    trust_code: bool = False,
    max_bytes: int = MAX_BYTES,
) -> nn.Module:
    """The frozen module of any file but ONNX; see ``certify.load``.

    Raises ``ArtefactRejected`` for files that cannot be used, ``UsageError`` for a factory that is missing,
    fails, or is not needed.
    """
    check_file(path, max_bytes)
    if path.suffix not in _KNOWN:
        raise ArtefactRejected(f"{path} has an unknown extension; known are {', '.join(_KNOWN)}")
    program = path.suffix == ".pt2" or (trust_code and program_kind(path) is not None)
    if program and not trust_code:
        raise ArtefactRejected(
            f"{path} is a torch.export program, which is code; export it to ONNX, "
            f"or give its state_dict and factory, or {TRUST}"
        )
    if factory is not None and (program or path.suffix == ".skops"):
        raise UsageError(f"factory builds the module for a weight file; {path} has its own and needs none")
    if path.suffix == ".skops":
        from certify.loading.estimator import read_estimator  # an optional extra

        return frozen_copy(read_estimator(path, max_bytes))
    if program:
        return frozen_copy(read_program(path, input_shape, max_bytes))
    if factory is None:
        raise UsageError(f"{path} holds weights alone; give factory='package.module:callable' for its module")
    weights = read_weights(path, max_bytes)
    module = frozen_copy(build(factory))
    fill(module, weights, str(path))
    return module
