"""Weight files: safetensors and PyTorch state_dicts. Nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from certify.errors import ArtefactRejected

_REMEDY = "save model.state_dict() with safetensors or torch.save and give factory='package.module:callable'"


def check_file(path: Path) -> None:
    """Refuse what cannot be a model file before anything is parsed."""
    try:
        if path.is_dir():
            raise ArtefactRejected(f"{path} is a directory; give the model file itself")
        if path.stat().st_size == 0:
            raise ArtefactRejected(f"{path} is empty; fetch or save it again")
    except OSError as error:
        raise ArtefactRejected(f"{path} cannot be read: {error.strerror or error}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file.

    Raises ``ArtefactRejected`` for a file that is missing, damaged, of another kind, or holds code.
    """
    check_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    _scan(path)
    return _named_tensors(path, _unpickle(path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415 - not needed by `import certify`
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ArtefactRejected(
            f"{path} is not a safetensors file: {one_line(error)}; it may be truncated or of another kind"
        ) from error
    return weights


def _scan(path: Path) -> None:
    """Look into the zip archive before PyTorch does: no code, no compression, no more data than stored."""
    if not zipfile.is_zipfile(path):
        return  # the format before PyTorch 1.6; whatever else it is, the restricted unpickler refuses
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ArtefactRejected(f"{path} is a damaged archive: {one_line(error)}") from error
    names = [member.filename for member in members]
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        raise ArtefactRejected(
            f"{path} is a TorchScript program, which is code; {_REMEDY}, or export it to ONNX"
        )
    if any(name.endswith(("serialized_exported_program.json", "archive_format")) for name in names):
        raise ArtefactRejected(f"{path} is a torch.export program, which is code; {_REMEDY}")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ArtefactRejected(f"{path} has compressed members, which torch.save never writes; save it again")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ArtefactRejected(f"{path} declares more data than it holds; save it again")


def _unpickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on files of other kinds; what matters is in the exception
            content: object = torch.load(path, map_location="cpu", weights_only=True)
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


def one_line(error: BaseException, limit: int = 200) -> str:
    """An exception's message on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
