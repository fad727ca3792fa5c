"""Labelled samples from an ``.npz`` file."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certify.errors import ArtefactRejected, UsageError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples in the order of their file; a sample's id is its place there.

    x: (n, *input_shape) float32, in input units. y: (n,) int64 labels. digest: SHA-256 of both, in hex.
    total: how many samples the file holds, of which these are the first.
    """

    x: Tensor
    y: Tensor
    name: str
    digest: str
    total: int

    def __len__(self) -> int:
        return len(self.x)


def load_npz(path: Path, x_key: str = "x", y_key: str = "y", limit: int | None = None) -> Dataset:
    """Read the first ``limit`` samples of an ``.npz`` file; nothing in the file is executed.

    x is taken as float32: where the file holds float64, the rounded values are the samples. Shapes, range and
    labels are checked against a model by ``certify.query.check_samples``.
    Raises ``ArtefactRejected`` for a file that cannot be read, ``UsageError`` for missing arrays, a dtype
    that is not floating point (x) or integer (y), different lengths, or no samples.
    """
    x, y = _arrays(path, x_key, y_key)
    if x.dtype.kind != "f":
        raise UsageError(
            f"{path}: {x_key} has dtype {x.dtype}; save it as float32 in the units that eps and input_range "
            "are given in, e.g. x.astype('float32') / 255 for bytes with input_range = [0, 1]"
        )
    if y.dtype.kind not in "iu":
        raise UsageError(f"{path}: {y_key} has dtype {y.dtype}; save class numbers as integers")
    if x.ndim == 0 or y.shape != x.shape[:1]:
        raise UsageError(
            f"{path}: {x_key} has shape {x.shape} and {y_key} {y.shape}; give one label per sample"
        )
    if len(x) == 0:
        raise UsageError(f"{path} holds no samples; nothing can be evaluated")
    total = len(x)
    x = np.ascontiguousarray(x[:limit], dtype="<f4")
    y = np.ascontiguousarray(y[:limit], dtype="<i8")
    digest = hashlib.sha256(f"{x.shape}{y.shape}".encode() + x.tobytes() + y.tobytes()).hexdigest()
    return Dataset(torch.from_numpy(x), torch.from_numpy(y), path.name, digest, total)


def _arrays(path: Path, x_key: str, y_key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        # numpy leaves a file that it opened itself open where it turns out to be damaged
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UsageError(f"{path} is a single array; give an .npz with {x_key} and {y_key}")
            for key in (x_key, y_key):
                if key not in archive.files:
                    held = ", ".join(archive.files) or "nothing"
                    raise UsageError(
                        f"{path} holds {held} and no {key!r}; name the arrays in [data] with x = ..., y = ..."
                    )
            return archive[x_key], archive[y_key]
    except FileNotFoundError as error:
        raise ArtefactRejected(f"{path} does not exist; check [data] path") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtefactRejected(
            f"{path} is refused: damaged, no .npz file, or it holds pickled objects; "
            "save it with numpy.savez(path, x=x, y=y)"
        ) from error
