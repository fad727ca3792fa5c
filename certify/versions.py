"""The software and the machine that decide the numbers."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_DISTRIBUTIONS = {"certify": "certify-bounds", "torch": "torch", "numpy": "numpy"}


@dataclass(frozen=True)
class Writer:
    """What wrote some evidence: software versions and the machine, as names and values."""

    versions: Mapping[str, str]
    hardware: Mapping[str, str]

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(installed(), machine())


def installed() -> dict[str, str]:
    """Names and versions; a package that runs from its sources is "not installed"."""
    found = {"python": platform.python_version()}
    for name, distribution in _DISTRIBUTIONS.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, str]:
    """System and processor."""
    return {"system": platform.system(), "machine": platform.machine(), "processor": _processor()}


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
