"""The pickle of a PyTorch checkpoint, read with stand-ins for tensors before PyTorch reads it.

PyTorch's restricted unpickler runs no code, but it believes what a file says of sizes: a tensor larger than
its storage makes the storage grow, and a storage larger than its data is read past its end.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

from certify.errors import ArtefactRejected
from certify.loading.limits import one_line

_MOST_PICKLE = 2**24  # bytes
_MOST_OPCODES = 1_000_000
_MOST_BUILDS = 100  # attributes set on objects: a state_dict has its _metadata
_MOST_ENTRIES = 1024  # of a tuple
_OPCODES = frozenset(
    (
        *(
            "PROTO",
            "STOP",
            "MARK",
            "POP",
            "NONE",
            "NEWTRUE",
            "NEWFALSE",
            "BININT",
            "BININT1",
            "BININT2",
            "LONG1",
        ),
        *("BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "TUPLE"),
        *("TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BINGET", "LONG_BINGET"),
        *("BINPUT", "LONG_BINPUT", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    )
)
_ITEM_BYTES = {
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "IntStorage": 4,
    "FloatStorage": 4,
    "LongStorage": 8,
    "DoubleStorage": 8,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}


def check_checkpoint(path: Path, archive: zipfile.ZipFile, max_bytes: int, remedy: str) -> None:
    """Refuse a checkpoint that holds more than tensors, or tensors that do not lie within their data.

    max_bytes: of all tensors together. Raises ``ArtefactRejected``.
    """
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    folders = {name.partition("/")[0] for name in sizes}
    folder = next(iter(folders), "")
    member = f"{folder}/data.pkl"
    if len(folders) != 1 or member not in sizes:
        raise ArtefactRejected(f"{path} is not laid out as torch.save does; {remedy}")
    if sizes[member] > _MOST_PICKLE:
        raise ArtefactRejected(f"{path}: data.pkl has more than {_MOST_PICKLE} bytes; {remedy}")
    try:
        data = archive.read(member)
        _check_opcodes(path, data, remedy)
        _Reader(
            data, path, {n: s for n, s in sizes.items() if "/data/" in n}, folder, max_bytes, remedy
        ).load()
    except ArtefactRejected:
        raise
    # Bytes that no pickler wrote fail with whatever the unpickler's parts raise.
    except Exception as error:
        raise ArtefactRejected(
            f"{path} is not a PyTorch checkpoint: {one_line(error)}; it may be truncated or of another kind"
        ) from error


def _check_opcodes(path: Path, data: bytes, remedy: str) -> None:
    """Only what ``torch.save`` writes for a state_dict, and nothing that a few bytes make large or slow."""
    tuples = _TupleSizes()
    builds = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name not in _OPCODES:
            raise ArtefactRejected(
                f"{path} does not hold plain tensors alone: its pickle uses {opcode.name}, with which code "
                f"would have to run; {remedy}"
            )
        builds += opcode.name == "BUILD"
        too_far = opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > count
        too_much = count > _MOST_OPCODES or builds > _MOST_BUILDS
        if too_far or too_much or tuples.after(opcode, argument) > _MOST_ENTRIES:
            raise ArtefactRejected(f"{path}: its pickle grows beyond any checkpoint's; {remedy}")


class _TupleSizes:
    """The unpickler's stack, with the number of entries of every tuple, nested ones counted in full.

    Tuples that share their parts are small in memory, and yet as keys take exponential time to hash.
    """

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[object, int] = {}

    def after(self, opcode: pickletools.OpcodeInfo, argument: object) -> int:
        """Entries of what the opcode leaves on top of the stack."""
        name = opcode.name
        if name == "MARK":
            self._marks.append(len(self._stack))
            return 0
        if name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
            return 0
        taken = opcode.stack_before
        if pickletools.markobject in taken:
            bottom = self._marks.pop() - taken.index(pickletools.markobject)
        else:
            bottom = len(self._stack) - len(taken)
        popped = self._stack[bottom:]
        del self._stack[bottom:]
        top = self._memo[argument] if name in ("BINGET", "LONG_BINGET") else 1
        top += sum(popped) if name.startswith("TUPLE") else 0
        if opcode.stack_after:
            self._stack.append(top)
        return top


# The stand-ins are named tuples: a pickle cannot set attributes of these.


class _StorageType(NamedTuple):
    item_bytes: int


class _Storage(NamedTuple):
    elements: int
    item_bytes: int


class _Tensor(NamedTuple):
    elements: int


class _NewDict(NamedTuple):
    name: str

    def __call__(self) -> OrderedDict[object, object]:
        """An empty one: pickles of dictionaries are filled item by item."""
        return OrderedDict()


class _RebuildTensor(NamedTuple):
    reader: _Reader

    def __call__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> _Tensor:
        """The arguments of ``torch._utils._rebuild_tensor_v2``."""
        return self.reader.tensor(storage, offset, size, stride)


class _RebuildParameter(NamedTuple):
    name: str

    def __call__(self, data: object, *_: object) -> _Tensor:
        """The arguments of ``torch._utils._rebuild_parameter``."""
        if not isinstance(data, _Tensor):
            raise TypeError("a parameter that is no tensor")
        return data


class _Reader(pickle.Unpickler):
    """Finds nothing but stand-ins, so that there is nothing to run."""

    def __init__(
        self, data: bytes, path: Path, sizes: Mapping[str, int], folder: str, max_bytes: int, remedy: str
    ) -> None:
        super().__init__(io.BytesIO(data))
        self._path = path
        self._sizes = sizes
        self._folder = folder
        self._max_bytes = max_bytes
        self._remedy = remedy
        self._viewed = 0

    def find_class(self, module_name: str, global_name: str, /) -> object:
        """A stand-in for each global of a state_dict."""
        if module_name == "torch" and global_name in _ITEM_BYTES:
            return _StorageType(_ITEM_BYTES[global_name])
        found: Mapping[tuple[str, str], object] = {
            ("collections", "OrderedDict"): _NewDict("dict"),
            ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(self),
            ("torch._utils", "_rebuild_parameter"): _RebuildParameter("parameter"),
        }
        place = (module_name, global_name)
        if place not in found:
            name = f"{module_name}.{global_name}"[:80]
            raise ArtefactRejected(
                f"{self._path} does not hold plain tensors alone: {name!r} would have to run; {self._remedy}"
            )
        return found[place]

    def persistent_load(self, pid: object, /) -> _Storage:
        """The storage that ``("storage", type, key, device, count)`` names, held against its member."""
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ValueError("a reference to something else than a storage")
        _, kind, key, _, count = pid
        if not isinstance(kind, _StorageType) or not isinstance(key, str) or not _natural(count):
            raise ValueError("a storage without type, key and size")
        held = self._sizes.get(f"{self._folder}/data/{key}")
        declared = count * kind.item_bytes
        if declared != held:
            raise ArtefactRejected(
                f"{self._path}: storage {key[:40]!r} declares {declared} bytes and the file holds "
                f"{'none' if held is None else held}; save it again"
            )
        return _Storage(count, kind.item_bytes)

    def tensor(self, storage: object, offset: object, size: object, stride: object) -> _Tensor:
        """A view of a storage, which must lie within it and have no more elements than it."""
        sizes, strides = _naturals(size), _naturals(stride)
        if not isinstance(storage, _Storage) or not isinstance(offset, int) or len(sizes) != len(strides):
            raise ValueError("a tensor without storage, sizes and strides")
        count = prod(sizes)
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if count and not 0 <= offset <= last < storage.elements:
            raise ArtefactRejected(
                f"{self._path}: a tensor of shape {sizes[:8]} reaches beyond its storage of "
                f"{storage.elements} elements; save it again"
            )
        self._viewed += count * storage.item_bytes
        if count > storage.elements or self._viewed > self._max_bytes:
            raise ArtefactRejected(
                f"{self._path}: a tensor of shape {sizes[:8]} is far larger than its data of "
                f"{storage.elements} elements; call contiguous() on expanded tensors and save again"
            )
        return _Tensor(count)


def _natural(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or len(values) > 64 or not all(_natural(v) for v in values):
        raise ValueError("sizes that are no natural numbers")
    return tuple(values)
