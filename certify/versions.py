"""The software that decides the numbers."""

from __future__ import annotations

import importlib.metadata
import platform

_DISTRIBUTIONS = {"certify": "certify-bounds", "torch": "torch", "numpy": "numpy"}


def installed() -> dict[str, str]:
    """Names and versions; a package that runs from its sources is "not installed"."""
    found = {"python": platform.python_version()}
    for name, distribution in _DISTRIBUTIONS.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
