"""Fixtures of all tests."""

import gc
import os
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: the collector need not walk through it again and again."""
    gc.collect()
    gc.freeze()


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
