"""Weight files: safetensors and PyTorch state_dicts. Nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from certify.errors import ArtefactRejected
from certify.loading.archive import open_archive
from certify.loading.limits import MAX_BYTES, check_file, one_line
from certify.loading.pickled import check_checkpoint
from certify.loading.program import TRUST, program_kind

_REMEDY = "save model.state_dict() with safetensors or torch.save and give factory='package.module:callable'"


def read_weights(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """The named tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file.

    max_bytes: of the file, and of its tensors together.
    Raises ``ArtefactRejected`` for a file that is missing, damaged, of another kind, too large, or code.
    """
    check_file(path, max_bytes)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _named_tensors(path, _read_checkpoint(path, max_bytes))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # not needed by `import certify`
    from safetensors.torch import load_file

    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ArtefactRejected(
            f"{path} is not a safetensors file: {one_line(error)}; it may be truncated or of another kind"
        ) from error
    return weights


def _read_checkpoint(path: Path, max_bytes: int) -> object:
    """What PyTorch's restricted unpickler finds, after scans of archive and pickle in the same open file."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            raise ArtefactRejected(
                f"{path} is no archive as torch.save writes since version 1.6: a plain pickle, with which "
                f"code would have to run, or truncated, or of another kind; {_REMEDY}"
            )
        if kind := program_kind(file):
            raise ArtefactRejected(f"{path} is a {kind} program, which is code; {_REMEDY}, or {TRUST}")
        with open_archive(file, path, max_bytes) as archive:
            check_checkpoint(path, archive, max_bytes, _REMEDY)
        file.seek(0)
        return _unpickle(path, file)


def _unpickle(path: Path, file: BinaryIO) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on files of other kinds; what matters is in the exception
            content: object = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtefactRejected(
            f"{path} does not hold plain tensors alone: code from the file would have to run, "
            f"or it is damaged; {_REMEDY}"
        ) from error
    # A damaged file fails somewhere inside PyTorch's reader, with whatever its parts raise.
    except Exception as error:
        raise ArtefactRejected(
            f"{path} is not a PyTorch checkpoint: {one_line(error)}; it may be truncated or of another kind"
        ) from error
    return content


def _named_tensors(path: Path, content: object) -> dict[str, Tensor]:
    """The state_dict itself, or the one under ``"state_dict"`` as training frameworks store it."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise ArtefactRejected(f"{path} holds no state_dict but {type(content).__name__}; {_REMEDY}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ArtefactRejected(
                f"{path}: entry {name!r} is a {type(value).__name__}, not a tensor; {_REMEDY}"
            )
    return content
