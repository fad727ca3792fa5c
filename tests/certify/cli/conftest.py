"""Fixtures of the command line's tests."""

import pytest

from certify.cli import main
from tests.certify.cli import project


@pytest.fixture
def config(tmp_path):
    """A project of its own."""
    return project.make(tmp_path)


@pytest.fixture
def no_pictures():
    """For tests of what a run decides and records."""
    with project.without_pictures():
        yield


@pytest.fixture
def one_picture():
    """For tests of what a run writes that are not about its pictures."""
    with project.with_the_curve_alone():
        yield


@pytest.fixture
def refuse(capsys):
    """Run a command that must fail: one line on stderr, nothing else; returns (exit code, the line)."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("error: ")
        assert "Traceback" not in err
        return code, err

    return run
