"""Programs: ``torch.export`` archives and TorchScript. They are code, and run with the user's rights."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from certify.errors import ArtefactRejected, UsageError
from certify.loading.archive import open_archive
from certify.loading.limits import one_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram

TRUST = "if you trust where it is from, say so: --trust-code or trust_code=True"
_EXPORTED, _SCRIPT = "torch.export", "TorchScript"
_TOLERANCE = 1e-5


def program_kind(archive: zipfile.ZipFile) -> str | None:
    """``"torch.export"`` or ``"TorchScript"`` if an archive is a program of that kind."""
    names = archive.namelist()
    if any(name.endswith(("serialized_exported_program.json", "archive_format")) for name in names):
        return _EXPORTED
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        return _SCRIPT
    return None


def read_program(path: Path, input_shape: Sequence[int] | None, max_bytes: int) -> nn.Module:
    """The module of a program that the user trusts; only its archive is checked.

    A program made for a batch of one runs sample by sample. input_shape: of one sample; for TorchScript.
    Raises ``ArtefactRejected`` if it cannot be loaded.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ArtefactRejected(
                f"{path} is no program of torch.export or TorchScript; it may be truncated"
            )
        with open_archive(file, path, max_bytes) as archive:
            kind = program_kind(archive)
        if kind is None:
            raise ArtefactRejected(f"{path} is no program; give weights and their factory instead")
        file.seek(0)
        data = io.BytesIO(file.read())
    if kind == _SCRIPT and input_shape is None:
        raise UsageError(f"{path} is a TorchScript program; give input_shape, the shape of one sample")
    try:
        with _quiet():
            program: ExportedProgram = (
                torch.export.load(data) if kind == _EXPORTED else _converted(data, input_shape or ())
            )
            return _plain(path, program)
    except (ArtefactRejected, UsageError):
        raise
    # A program fails with whatever its code, or PyTorch's reader of it, raises.
    except Exception as error:
        raise ArtefactRejected(f"{path} is not a usable {kind} program: {one_line(error)}") from error


def _converted(data: io.BytesIO, input_shape: Sequence[int]) -> ExportedProgram:
    """A TorchScript program as one of torch.export, compared with the original on a few inputs."""
    from torch._export.converter import TS2EPConverter  # noqa: PLC0415 - the one way PyTorch offers

    script = torch.jit.load(data, map_location="cpu").eval()
    x = torch.rand(1, *input_shape, generator=torch.Generator().manual_seed(0))
    program: ExportedProgram = TS2EPConverter(script, (x,)).convert()
    with torch.no_grad():
        expected, got = script(x), program.module()(x)
    if not torch.allclose(expected, got, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise ValueError("PyTorch converts it to another function; export it to ONNX")
    return program


def _plain(path: Path, program: ExportedProgram) -> nn.Module:
    """The program as an ordinary module, which has an evaluation mode and can be copied."""
    inputs = [
        n
        for n in program.graph.nodes
        if n.op == "placeholder" and n.name in program.graph_signature.user_inputs
    ]
    if (
        len(inputs) != 1
        or not isinstance(inputs[0].meta.get("val"), Tensor)
        or not inputs[0].meta["val"].dim()
    ):
        raise ArtefactRejected(f"{path} takes {len(inputs)} inputs; a network takes one batch")
    batch = inputs[0].meta["val"].shape[0]
    exported = program.module()
    module = fx.GraphModule(exported, exported.graph)
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":  # of shapes; checked again when traced
            module.graph.erase_node(node)
    module.recompile()
    if not isinstance(batch, int):
        return module
    if batch != 1:
        raise ArtefactRejected(f"{path} has a fixed batch of {batch}; export it with a batch of one, or any")
    return OneByOne(module)


class OneByOne(nn.Module):
    """A module that takes a batch of one, for batches of any size."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        results: list[Tensor] = [self.module(sample) for sample in torch.split(x, 1)]
        return results[0] if len(results) == 1 else torch.cat(results)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's remarks on its own readers."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
