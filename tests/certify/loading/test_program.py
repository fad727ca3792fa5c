"""Programs of torch.export and TorchScript: refused as code, and the same function where they are trusted."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from certify.errors import ArtefactRejected, UsageError
from certify.model import load
from tests.certify.networks import small_cnn
from tests.certify.test_model import FACTORY, SHAPE, inputs


def exported(path: Path, batch: int = 1, dynamic: bool = False) -> Path:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    x = torch.zeros(2 if dynamic else batch, *SHAPE)
    path = path.with_suffix(".pt2")
    torch.export.save(torch.export.export(small_cnn().eval(), (x,), dynamic_shapes=shapes), path)
    return path


def script(path: Path) -> Path:
    with pytest.warns(DeprecationWarning):
        torch.jit.trace(small_cnn().eval(), torch.zeros(1, *SHAPE)).save(path.with_suffix(".pt"))
    return path.with_suffix(".pt")


KINDS: dict[str, Callable[[Path], Path]] = {
    "export": exported,
    "export of any batch": lambda path: exported(path, dynamic=True),
    "script": script,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_needs_trust_and_is_then_the_network(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path / "program")
    with pytest.raises(ArtefactRejected, match=r"is code; .*trust_code=True"):
        load(path, factory=FACTORY if kind == "script" else None, input_shape=SHAPE)
    model = load(path, input_shape=SHAPE, trust_code=True, mean=0.5)
    expected = load(small_cnn(), input_shape=SHAPE, mean=0.5)
    x = inputs()
    assert torch.allclose(model(x), expected(x), atol=1e-5)
    assert model.graph is not None
    assert torch.allclose(model.graph(x), expected(x), atol=1e-5)
    moved = model.to("meta")
    assert moved(x.to("meta")).device.type == "meta"
    x = x.requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_a_fixed_batch_of_several_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactRejected, match="fixed batch of 3"):
        load(exported(tmp_path / "p", batch=3), input_shape=SHAPE, trust_code=True)


def test_trust_is_no_reason_to_read_what_is_no_program(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pt2"
    damaged.write_bytes(exported(tmp_path / "p").read_bytes()[:-40])
    with pytest.raises(ArtefactRejected, match=r"damaged\.pt2"):
        load(damaged, input_shape=SHAPE, trust_code=True)
    with zipfile.ZipFile(tmp_path / "p.pt2") as source:
        members = {name: source.read(name) for name in source.namelist()}
    bomb = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    with pytest.raises(ArtefactRejected, match="is compressed"):
        load(bomb, input_shape=SHAPE, trust_code=True)
    with pytest.raises(UsageError, match="needs none"):
        load(tmp_path / "p.pt2", factory=FACTORY, input_shape=SHAPE, trust_code=True)


def test_trust_does_not_extend_to_pickles(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ArtefactRejected, match="would have to run"):
        load(tmp_path / "module.pt", factory=FACTORY, input_shape=SHAPE, trust_code=True)
