"""A run that was judged and signed, and its report."""

import pytest

import certify.reporting
from certify.cli import main
from certify.reporting.canonical import parsed
from tests.certify.cli import project

RULES = """
name = "toy"
[[rules]]
id = "proof"
kind = "verified-accuracy"
norm = "linf"
eps = 0.02
at_least = 0.3
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A run that was judged and signed."""
    folder = tmp_path_factory.mktemp("audit")
    config = project.make(folder)
    config.write_text(f"{config.read_text()}\n[health]\nsamples = 5\n")
    (folder / "policy.toml").write_text(RULES)
    assert main(["keygen", str(folder / "key")]) == 0
    arguments = ["--out", str(folder / "run"), "--policy", str(folder / "policy.toml")]
    with pytest.MonkeyPatch.context() as patched:  # pictures are slow to draw
        patched.setattr(certify.reporting, "render", lambda report, folder: None)
        assert main(["gate", str(config), *arguments, "--sign", str(folder / "key")]) == 0
    return folder


@pytest.fixture
def tree(folder):
    """The report as JSON values."""
    return parsed((folder / "run" / "report.json").read_bytes())
