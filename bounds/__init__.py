"""The verification engine: bounds of neural networks over input regions. See the README for a tour.

Names are loaded when one is first asked for, so that ``bounds.proof`` runs without any of the engine.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bounds.api import *  # noqa: F403  # all names, which have their one list there

_FUNCTIONS = ("bound", "jacobian", "trace")


class _Package(ModuleType):
    """Functions that have the name of their module stay functions when the module is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FUNCTIONS and isinstance(value, ModuleType):
            value = vars(value)[name]
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name == "__all__" or not name.startswith("__"):
        names = vars(import_module("bounds.api"))
        if name in names:
            return names[name]
        if name in globals():  # a module that is loaded by now
            return globals()[name]
    raise AttributeError(f"module 'bounds' has no attribute {name!r}")
