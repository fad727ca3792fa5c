"""Programs: ``torch.export`` archives and TorchScript. They are code, and run with the user's rights."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

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


def program_kind(source: BinaryIO | Path) -> str | None:
    """``"torch.export"`` or ``"TorchScript"`` if a file says that it is one; nothing is read of it."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return None
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
    kind = program_kind(path)
    if kind is None:
        raise ArtefactRejected(f"{path} is no program of torch.export or TorchScript; it may be truncated")
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if kind == _SCRIPT else (zipfile.ZIP_STORED,)
    with path.open("rb") as file, open_archive(file, path, max_bytes, methods):
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
    from torch._export.converter import TS2EPConverter  # the one way PyTorch offers

    script = torch.jit.load(data, map_location="cpu").eval()  # type: ignore[no-untyped-call]
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
    graph = exported.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":  # of shapes; checked again when traced
            graph.erase_node(node)
        if node.target == torch.ops.aten.convolution.default and not node.args[6]:
            # TorchScript knows one convolution of all dimensions; the engine knows each by its name
            names = (torch.ops.aten.conv1d, torch.ops.aten.conv2d, torch.ops.aten.conv3d)
            node.target = names[len(node.args[3]) - 1].default
            node.args = (*node.args[:6], node.args[8])
    end = graph.output_node()
    (results,) = end.args
    if not isinstance(results, Sequence) or len(results) != 1:
        raise ArtefactRejected(f"{path} has several outputs; a network has one")
    end.args = (results[0],)
    graph.set_codegen(fx.graph.CodeGen())  # one tensor in and one out, where torch.export wraps both
    module = fx.GraphModule(exported, graph)
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
