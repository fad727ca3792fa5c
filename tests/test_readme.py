"""The README's blocks run as they stand, on the demo's network and images under the README's file names."""

import importlib.resources
import re
import shlex
import shutil
from pathlib import Path

import pytest

from certify.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assets = importlib.resources.files("certify.demo") / "assets"
    for name, source in {"net.onnx": "digits_cnn.onnx", "samples.npz": "digits.npz"}.items():
        with importlib.resources.as_file(assets / source) as path:
            shutil.copy(path, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_own_onnx_file_with_own_samples(folder: Path) -> None:
    config = blocks("toml")[0]
    (folder / "job.toml").write_text(config)
    command = next(line for line in README.splitlines() if line.startswith("certify run"))
    assert main(shlex.split(command)[1:]) == 0
    for name in ("report.html", "report.json", "report.md", "curve.csv", "curve.svg", "curve.png"):
        assert (folder / "my-run" / name).stat().st_size > 0


def test_the_gate_from_policy_to_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "job.toml").write_text(blocks("toml")[0])
    (folder / "policy.toml").write_text(next(b for b in blocks("toml") if "[[rules]]" in b))
    names = ("certify keygen ", "certify gate ", "certify check ", "certify diff ", "certify export ")
    commands = [line.replace("my-run", "gated-run") for line in README.splitlines() if line.startswith(names)]
    assert len(commands) == len(names)
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    out = capsys.readouterr().out
    assert "attested as PASSED" in out
    assert "not checked" not in out


def test_python_blocks(folder: Path) -> None:
    """In order, as a reader would try them."""
    names: dict[str, object] = {}
    assert len(blocks("python")) == 4
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)


def test_verify_answers_on_its_first_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = "".join(
        f"(declare-const X_{i} Real)(assert (>= X_{i} 0.5))(assert (<= X_{i} 0.5))" for i in range(64)
    )
    outputs = "".join(f"(declare-const Y_{i} Real)" for i in range(10))
    (folder / "property.vnnlib").write_text(inputs + outputs + "(assert (>= Y_0 1000.0))")
    command = next(line for line in README.splitlines() if line.startswith("certify verify"))
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "unsat"
