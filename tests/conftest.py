"""Fixtures of all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of recorded data, named by CERTIFY_TEST_DATA; absent data skips, but fails in CI."""
    folder = os.environ.get("CERTIFY_TEST_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    message = "set CERTIFY_TEST_DATA to the folder of recorded test data"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
