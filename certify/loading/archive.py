"""Zip archives, looked into before any library opens them.

The libraries that read model files have zip readers of their own. Two readers that find different members in
one file would make every check here worthless, so that only the plainest archives pass: one directory, at the
very end, of members that neither overlap nor share a name.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from certify.errors import ArtefactRejected
from certify.loading.limits import one_line

_MOST_MEMBERS = 100_000
_ENCRYPTED = 1
_LOCAL_BYTES = 30  # of a member's own header, before its name
_END = struct.Struct("<4s4H2LH")  # end of the directory: magic, ..., size, offset, comment's length
_LOCATOR = struct.Struct("<4sLQL")  # of the 64-bit end: magic, disk, offset, disks
_END64 = struct.Struct("<4sQ2H2L4Q")
_SATURATED = 2**32 - 1


def open_archive(
    file: BinaryIO, path: Path, max_bytes: int, methods: Collection[int] = (zipfile.ZIP_STORED,)
) -> zipfile.ZipFile:
    """The archive in an open file, after every check that needs no look into its members.

    path: names the file in messages. max_bytes: of all members together, unpacked. methods: of compression.
    Raises ``ArtefactRejected`` saying what is wrong.
    """
    try:
        archive = zipfile.ZipFile(file)
        if not _one_directory(file, archive):
            raise ArtefactRejected(f"{path} has a directory that readers may find elsewhere; save it again")
        _check_members(path, archive, max_bytes, methods)
        for member in archive.infolist():
            archive.open(member).close()  # its own header has to agree with the directory
    # zipfile raises what its parts raise on bytes that no writer wrote
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error, EOFError) as error:
        raise ArtefactRejected(f"{path} is a damaged archive: {one_line(error)}") from error
    return archive


def _one_directory(file: BinaryIO, archive: zipfile.ZipFile) -> bool:
    """Whether the directory is where any reader looks: its end record last, no comment, nothing shifted."""
    length = file.seek(0, os.SEEK_END)
    file.seek(length - _END.size)
    magic, _, _, _, _, _, offset, comment = _END.unpack(file.read(_END.size))
    if magic != b"PK\5\6" or comment:
        return False
    place = length - _END.size - _LOCATOR.size
    if place >= 0:
        file.seek(place)
        magic, _, record, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if magic == b"PK\6\7":
            file.seek(place - _END64.size)
            start: int = _END64.unpack(file.read(_END64.size))[-1]
            return bool(record == place - _END64.size and start == archive.start_dir) and offset in (
                start,
                _SATURATED,
            )
    return bool(offset == archive.start_dir)


def _check_members(path: Path, archive: zipfile.ZipFile, max_bytes: int, methods: Collection[int]) -> None:
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise ArtefactRejected(f"{path} has {len(members)} members, more than the limit of {_MOST_MEMBERS}")
    if len({member.filename for member in members}) < len(members):
        raise ArtefactRejected(f"{path} has two members of one name; save it again")
    for member in members:
        if problem := _problem(member, methods):
            raise ArtefactRejected(f"{path}: member {member.orig_filename[:80]!r} {problem}; save it again")
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise ArtefactRejected(f"{path} declares {total} bytes of data, more than the limit of {max_bytes}")
    end = 0
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset < end:
            raise ArtefactRejected(f"{path} has members that overlap; save it again")
        end = member.header_offset + _LOCAL_BYTES + len(member.orig_filename) + member.compress_size
    if end > archive.start_dir:
        raise ArtefactRejected(f"{path} declares more data than it holds; save it again")


def _problem(member: zipfile.ZipInfo, methods: Collection[int]) -> str | None:
    """What a writer of models never does."""
    stored = member.compress_type == zipfile.ZIP_STORED
    if stored and member.compress_size != member.file_size:
        return "declares more data than it holds, or less"
    if member.compress_type not in methods:
        return "is compressed, a way to make a small file a huge one"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    name = member.orig_filename
    if name != member.filename or not _stays_inside(name):
        return "has a name that leads out of the archive"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device"
    return None


def _stays_inside(name: str) -> bool:
    plain = name.isprintable() and not any(sign in name for sign in "\\:")
    return plain and name != "" and not name.startswith("/") and ".." not in PurePosixPath(name).parts
