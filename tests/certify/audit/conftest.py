"""A run that was judged and signed, and its report."""

import pytest

from certify.reporting.canonical import parsed
from tests.certify.cli import project


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A run that was judged and signed."""
    folder = tmp_path_factory.mktemp("audit")
    assert project.judged(folder, 0.02, tail="[health]\nsamples = 5\n", sign=True) == 0
    return folder


@pytest.fixture
def tree(folder):
    """The report as JSON values."""
    return parsed((folder / "run" / "report.json").read_bytes())
