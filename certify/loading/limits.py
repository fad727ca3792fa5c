"""How much a model file may hold, and the checks that need no look inside."""

from __future__ import annotations

import stat
from pathlib import Path

from certify.errors import ArtefactRejected

MAX_BYTES = 2**32  # of a model's file and of its tensors together, unless the caller says otherwise


def check_file(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Refuse what cannot be a model file before anything is parsed: folders, pipes, devices, sizes.

    Raises ``ArtefactRejected``.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise ArtefactRejected(f"{path} cannot be read: {one_line(error)}") from error
    if stat.S_ISDIR(found.st_mode):
        raise ArtefactRejected(f"{path} is a directory; give the model file itself")
    if not stat.S_ISREG(found.st_mode):
        raise ArtefactRejected(f"{path} is a pipe or a device, not a regular file; save the model to one")
    if found.st_size == 0:
        raise ArtefactRejected(f"{path} is empty; fetch or save it again")
    if found.st_size > max_bytes:
        raise ArtefactRejected(
            f"{path} has {found.st_size} bytes, more than the limit of {max_bytes}; "
            "raise max_bytes if the file is what you expect"
        )


def one_line(error: BaseException, limit: int = 200) -> str:
    """An exception's message on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
