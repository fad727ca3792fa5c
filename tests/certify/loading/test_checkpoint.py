"""Files that must be refused: damaged, of another kind, of another network, or holding code."""

import gzip
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from certify.errors import ArtefactRejected
from certify.loading import read_weights
from certify.model import load
from tests.certify.networks import small_cnn
from tests.certify.test_model import FACTORY, SHAPE, WEIGHT, write_onnx


class Touch:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def refusal(path: Path) -> str:
    """The message with which a model file is refused; one line, naming the file."""
    with pytest.raises(ArtefactRejected) as caught:
        load(path, factory=None if path.name.endswith((".onnx", ".onnx.gz")) else FACTORY, input_shape=SHAPE)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert len(message) < 600 + len(str(path))
    return message


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path: Path, legacy: bool) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "ran"
    content = {"weight": torch.zeros(2), "extra": Touch(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert "would have to run" in refusal(path)
    path.write_bytes(pickle.dumps(content))
    assert "would have to run" in refusal(path)
    assert not trace.exists()


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.pth"
    torch.save(small_cnn(), path)
    assert "save model.state_dict()" in refusal(path)


def test_programs_are_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.pt"
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("script/code/__torch__.py", "def forward(self, x): return x")
        archive.writestr("script/constants.pkl", b"")
    assert "TorchScript program" in refusal(script)
    exported = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), exported)
    assert "torch.export program" in refusal(exported)
    assert "torch.export program" in refusal(exported.rename(tmp_path / "program.pt"))


def test_archives_that_torch_never_writes_are_refused(tmp_path: Path) -> None:
    honest = tmp_path / "honest.pt"
    torch.save(small_cnn().state_dict(), honest)
    compressed = tmp_path / "compressed.pt"
    with zipfile.ZipFile(honest) as source, zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            target.writestr(item.filename, source.read(item))
    assert "is compressed" in refusal(compressed)
    data = honest.read_bytes()
    swollen = tmp_path / "swollen.pt"
    entry = data.index(b"PK\x01\x02")  # the first record of the central directory
    swollen.write_bytes(data[: entry + 24] + (2**31 - 1).to_bytes(4, "little") + data[entry + 28 :])
    assert "declares more data" in refusal(swollen)


@pytest.mark.parametrize("content", [torch.zeros(3), {}, {"a": 1}, [torch.zeros(1)], {1: torch.zeros(1)}])
def test_a_checkpoint_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    refusal(path)


def test_what_does_not_fit_the_module_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = small_cnn().state_dict()
    del weights["0.bias"]
    weights["9.bias"] = torch.zeros(1)
    weights["4.weight"] = torch.zeros(5, 17)
    save_file(weights, path)
    message = refusal(path)
    assert "missing keys 0.bias" in message
    assert "unexpected keys 9.bias" in message
    assert "4.weight has shape (5, 17), the module expects (5, 16)" in message


def test_weights_that_lose_precision_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    weights = small_cnn().state_dict()
    torch.save({name: value.double() for name, value in weights.items()}, path)
    load(path, factory=FACTORY, input_shape=SHAPE)
    weights["0.bias"] = weights["0.bias"].double() / 3
    torch.save(weights, path)
    assert "0.bias is torch.float64 and loses precision" in refusal(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    weights = small_cnn().state_dict()
    weights["4.bias"][1] = torch.nan
    torch.save(weights, path)
    assert "NaN" in refusal(path)


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.onnx")
    folder = tmp_path / "folder.pt"
    folder.mkdir()
    assert "is a directory" in refusal(folder)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    assert "is empty" in refusal(empty)
    text = tmp_path / "weights.npz"
    text.write_text("hello")
    assert "unknown extension" in refusal(text)


def files(folder: Path) -> dict[str, Path]:
    """One good file of every kind."""
    paths = {kind: folder / f"good{kind}" for kind in (".onnx", ".onnx.gz", ".safetensors", ".pt")}
    write_onnx(paths[".onnx"], WEIGHT)
    paths[".onnx.gz"].write_bytes(gzip.compress(paths[".onnx"].read_bytes()))
    save_file(small_cnn().state_dict(), paths[".safetensors"])
    torch.save(small_cnn().state_dict(), paths[".pt"])
    return paths


def test_the_wrong_extension_is_refused(tmp_path: Path) -> None:
    good = files(tmp_path)
    for kind, path in good.items():
        for other in (".onnx", ".safetensors", ".pt"):
            if other not in kind:
                wrong = tmp_path / f"wrong{kind}{other}"
                wrong.write_bytes(path.read_bytes())
                refusal(wrong)


@pytest.mark.parametrize("kind", [".onnx", ".onnx.gz", ".safetensors", ".pt"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    data = files(tmp_path)[kind].read_bytes()
    path = tmp_path / f"cut{kind}"
    for keep in (1, 2, 7, 8, len(data) // 2, len(data) - 30, len(data) - 1):
        path.write_bytes(data[:keep])
        refusal(path)


@pytest.mark.parametrize("kind", [".safetensors", ".pt"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_byte_is_refused_or_harmless(tmp_path: Path, kind: str, place: float, flip: int) -> None:
    data = bytearray(files(tmp_path)[kind].read_bytes())
    data[int(place * len(data))] ^= flip
    path = tmp_path / f"bad{kind}"
    path.write_bytes(data)
    try:
        read_weights(path)
    except ArtefactRejected as error:
        assert "\n" not in str(error)
