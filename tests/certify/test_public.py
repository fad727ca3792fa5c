"""The names that users type, and what importing them costs."""

import subprocess
import sys

import pytest

import certify

HEAVY = {"cvxpy", "statsmodels", "matplotlib", "onnx", "jinja2", "pydantic", "rich", "safetensors", "sklearn"}


def loaded(code):
    """Top-level modules that are loaded after some code ran in a fresh interpreter."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], check=True, capture_output=True, text=True
    )
    return set(ended.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_else():
    foreign = loaded("import certify") - loaded("") - sys.stdlib_module_names
    assert foreign == {"certify"}


def test_help_needs_neither_torch_nor_numpy():
    code = "from certify.cli import main\ntry:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass"
    assert not loaded(code) & (HEAVY | {"torch", "numpy"})


def test_the_engine_and_its_deciders_load_no_heavy_package():
    names = [name for name in certify.__all__ if name != "report"]
    code = f"import certify\nfor name in {names}:\n    getattr(certify, name)"
    assert not loaded(code) & HEAVY


@pytest.mark.parametrize("name", certify.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(certify, name).__doc__
    assert name in dir(certify)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = certify.nothing
