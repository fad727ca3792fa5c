"""Hostile zip archives and pickles: each is refused for its own reason, before PyTorch sees it."""

import io
import os
import pickle
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from certify.errors import ArtefactRejected
from certify.loading import read_weights
from certify.loading.archive import open_archive
from certify.loading.checkpoint import check_checkpoint
from tests.certify.networks import small_cnn

HEAD = b"\x80\x02"


def honest() -> dict[str, bytes]:
    """Members of a checkpoint that torch.save wrote."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(6.0).view(2, 3)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names that are there already
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    return path


def refused(path: Path, max_bytes: int = 2**32) -> str:
    started = time.perf_counter()
    with pytest.raises(ArtefactRejected) as caught:
        read_weights(path, max_bytes)
    assert time.perf_counter() - started < 60
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_pickle(path: Path, body: bytes) -> Path:
    members = honest()
    name = next(name for name in members if name.endswith("data.pkl"))
    return write(path, {**members, name: HEAD + body + b"."})


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor(
    count: int = 6,
    offset: int = 0,
    size: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
    key: str = "0",
) -> bytes:
    """A tensor as torch.save pickles it, with numbers that torch.save would not write."""
    pid = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    rest = number(offset) + numbers(*size) + numbers(*stride) + b"\x89" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + rest + b"tR"


def entry(value: bytes) -> bytes:
    return b"}" + text("w") + value + b"s"


def test_the_tests_own_writer_is_honest(tmp_path: Path) -> None:
    weights = read_weights(with_pickle(tmp_path / "w.pt", entry(tensor())))
    assert torch.equal(weights["w"], torch.arange(6.0).view(2, 3))


def test_what_torch_saves_is_read(tmp_path: Path) -> None:
    shared = torch.rand(4, 5)
    weights = OrderedDict(
        parameter=torch.nn.Parameter(torch.rand(3)),
        columns=shared.t(),
        part=shared[1:3, 2:],
        scalar=torch.tensor(3),
        empty=torch.zeros(0, 7),
        half=torch.rand(2).bfloat16(),
        flags=torch.tensor([True, False]),
    )
    torch.save(weights, tmp_path / "w.pt")
    read = read_weights(tmp_path / "w.pt")
    assert all(torch.equal(read[name], value) for name, value in weights.items())
    model = small_cnn()
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3, 6, 6)).sum().backward()
    optimiser.step()
    content = {"state_dict": model.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 3, "note": "a"}
    torch.save(content, tmp_path / "training.pt")
    read = read_weights(tmp_path / "training.pt")
    assert all(torch.equal(read[name], value) for name, value in model.state_dict().items())


VIEWS = {
    "a view far larger than its storage": (tensor(size=(10**6, 10**6), stride=(0, 0)), "far larger"),
    "many elements beyond the storage": (tensor(size=(10**5, 10**5), stride=(10**5, 1)), "reaches beyond"),
    "one element beyond the storage": (tensor(size=(2, 3), stride=(3, 2)), "reaches beyond"),
    "an offset beyond the storage": (tensor(offset=1), "reaches beyond"),
    "an offset before the storage": (tensor(offset=-1), "reaches beyond"),
    "a negative stride": (tensor(stride=(-3, 1)), "natural"),
    "a negative size": (tensor(size=(-2, -3)), "natural"),
    "a storage larger than its data": (
        tensor(count=10**9),
        "declares 4000000000 bytes and the file holds 24",
    ),
    "a storage smaller than its data": (tensor(count=5, size=(5,), stride=(1,)), "declares 20 bytes"),
    "a storage without data": (tensor(key="7"), "holds none"),
    "a storage outside the archive": (tensor(key="../../etc/passwd"), "holds none"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_tensors_that_do_not_lie_within_their_data_are_refused(tmp_path: Path, name: str) -> None:
    body, words = VIEWS[name]
    assert words in refused(with_pickle(tmp_path / "w.pt", entry(body)))


def grown_tuples() -> bytes:
    """A tuple of two of a tuple of two ...: small in memory, and for ever to hash as a key."""
    body = b")q\x00"
    for place in range(60):
        body += b"0h" + bytes([place]) + b"h" + bytes([place]) + b"\x86q" + bytes([place + 1])
    return b"}" + body + b"K\x01s"


PICKLES = {
    "a call": (b"cposix\nsystem\n" + text("exit") + b"\x85R", "'posix.system' would have to run"),
    "a call under torch's name": (b"ctorch\nload\n" + text("x") + b"\x85R", "'torch.load' would have to run"),
    "a dotted name": (b"ctorch\nserialization.os.system\n)R", "would have to run"),
    "an opcode that state_dicts lack": (b"\x8e" + struct.pack("<Q", 2**40), "not a PyTorch checkpoint"),
    "an instance of a class": (b"cposix\nsystem\n)\x81", "NEWOBJ"),
    "an old-style instance": (b"(iposix\nsystem\n", "INST"),
    "a copy of a long list": (b"ccollections\nOrderedDict\n]\x85R", "not a PyTorch checkpoint"),
    "an index far into the memo": (b"Nr" + struct.pack("<I", 2**32 - 1), "grows beyond"),
    "tuples within tuples": (grown_tuples(), "grows beyond"),
    "attributes again and again": (b"ccollections\nOrderedDict\n)R" + b"}b" * 101, "grows beyond"),
    "attributes of a stand-in": (
        b"ctorch\nFloatStorage\n}" + text("x") + b"K\x01sb",
        "not a PyTorch checkpoint",
    ),
    "a reference that is no storage": (b"K\x01Q", "not a PyTorch checkpoint"),
    "an empty stack": (b"0", "not a PyTorch checkpoint"),
    "no end": (b"K", "not a PyTorch checkpoint"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_are_no_state_dict_are_refused(tmp_path: Path, name: str) -> None:
    body, words = PICKLES[name]
    assert words in refused(with_pickle(tmp_path / "w.pt", body))


def test_a_pickle_of_too_many_parts_is_refused(tmp_path: Path) -> None:
    assert "grows beyond" in refused(with_pickle(tmp_path / "w.pt", b"]0" * 520_000))
    assert "data.pkl has more than" in refused(with_pickle(tmp_path / "w.pt", b"]" * 2**24))


class Touch:
    """Unpickling this creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_code_is_never_run_in_any_protocol(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "ran"
    torch.save({"w": torch.zeros(2), "x": Touch(trace)}, tmp_path / "w.pt", pickle_protocol=protocol)
    assert "would have to run" in refused(tmp_path / "w.pt")
    assert not trace.exists()
    torch.load(tmp_path / "w.pt", weights_only=False)  # it is a real one
    assert trace.exists()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    members = {**honest(), "archive/data/1": bytes(2**26)}
    path = write(tmp_path / "bomb.pt", members, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18
    assert "is compressed" in refused(path)


@pytest.mark.parametrize(
    "name", ["../evil", "archive/../../evil", "/etc/passwd", "C:evil", "archive\\..\\evil", "archive/a\nb"]
)
def test_members_whose_names_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    assert "leads out of the archive" in refused(write(tmp_path / "w.pt", {**honest(), name: b"x"}))


def test_a_name_with_an_end_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", {**honest(), "archive/dataXpkl": b"x"})
    path.write_bytes(path.read_bytes().replace(b"archive/dataXpkl", b"archive/data\0pkl"))
    assert "leads out of the archive" in refused(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", {**honest(), "archive/dat0": b"x", "archive/dat1": b"y"})
    path.write_bytes(path.read_bytes().replace(b"archive/dat1", b"archive/dat0"))
    assert "two members of one name" in refused(path)


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", honest())
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("archive/data/1")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in refused(path)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "w.pt", honest()).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "w.pt").write_bytes(data)
    assert "is encrypted" in refused(tmp_path / "w.pt")


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """One piece of data under many names: without compression, a small file is a large one."""
    data = bytearray(write(tmp_path / "w.pt", {**honest(), "archive/data/1": b"x" * 9}).read_bytes())
    records = [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]
    data[records[-1] + 42 : records[-1] + 46] = data[records[0] + 42 : records[0] + 46]
    (tmp_path / "w.pt").write_bytes(data)
    assert "overlap" in refused(tmp_path / "w.pt")


def test_archives_that_readers_may_read_differently_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "w.pt", honest()).read_bytes()
    end = data.rindex(b"PK\5\6")
    files = {
        "in front": b"PK\3\4" * 25 + data,
        "two archives": data + data,
        "comment": data[: end + 20] + b"\3\0abc",
        "trailing": data + b"abc",
        "shifted": data[: end + 16]
        + struct.pack("<L", struct.unpack("<L", data[end + 16 : end + 20])[0] - 9)
        + b"\0\0",
    }
    for name, content in files.items():
        path = tmp_path / f"{name}.pt"
        path.write_bytes(content)
        assert "find elsewhere" in refused(path) or "damaged" in refused(path), name


def test_another_layout_is_refused(tmp_path: Path) -> None:
    members = honest()
    assert "not laid out" in refused(write(tmp_path / "w.pt", {**members, "other/data.pkl": b"x"}))
    assert "not laid out" in refused(write(tmp_path / "w.pt", {"archive/weights": b"x"}))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".skops", ".onnx"])
def test_pipes_and_sizes_are_refused_before_anything_is_read(tmp_path: Path, suffix: str) -> None:
    from certify.model import load

    pipe, large = tmp_path / f"pipe{suffix}", tmp_path / f"large{suffix}"
    os.mkfifo(pipe)
    with pytest.raises(ArtefactRejected, match="pipe or a device"):
        load(pipe, factory=None if suffix == ".onnx" else "a:b")
    with large.open("wb") as file:
        file.truncate(2**40)  # takes no room
    with pytest.raises(ArtefactRejected, match="more than the limit of 4294967296"):
        load(large)
    with pytest.raises(ArtefactRejected, match="more than the limit of 1000; raise max_bytes"):
        load(large, max_bytes=1000)


def test_truncated_at_any_place_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "w.pt", honest()).read_bytes()
    for keep in range(1, len(data), 23):
        (tmp_path / "cut.pt").write_bytes(data[:keep])
        refused(tmp_path / "cut.pt")


def test_nothing_is_read_by_torch_before_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("torch.load was called")

    path = with_pickle(tmp_path / "w.pt", entry(tensor(size=(10**6, 10**6), stride=(0, 0))))
    monkeypatch.setattr(torch, "load", never)
    assert "far larger" in refused(path)


def test_bombs_take_little_memory(tmp_path: Path) -> None:
    """All of them in one process, over what importing takes."""
    bodies = [body for body, _ in VIEWS.values()] + [body for body, _ in PICKLES.values()]
    for index, body in enumerate(bodies):
        with_pickle(tmp_path / f"{index}.pt", entry(body))
    code = (
        "import resource, sys, pathlib; from certify.loading import read_weights\n"
        "from certify.errors import ArtefactRejected\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; count = 0\n"
        "for path in pathlib.Path(sys.argv[1]).glob('*.pt'):\n"
        "    try: read_weights(path)\n"
        "    except ArtefactRejected: count += 1\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == len(bodies)
    assert grown < 200_000  # KiB


def test_the_scan_alone_takes_an_open_file(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", honest())
    with path.open("rb") as file, open_archive(file, path, 2**20) as archive:
        check_checkpoint(path, archive, 24, "")
        with pytest.raises(ArtefactRejected, match="far larger"):
            check_checkpoint(path, archive, 23, "")
        with pytest.raises(ArtefactRejected, match=r"declares .* bytes of data"):
            open_archive(file, path, 100)
