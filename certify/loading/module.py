"""Modules: built by a factory, filled with weights, copied so that the caller's object stays as it is."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from certify.errors import ArtefactRejected, UsageError
from certify.loading.limits import one_line


def build(factory: str) -> nn.Module:
    """Call ``"package.module:callable"``, which takes no arguments and returns an ``nn.Module``.

    Raises ``UsageError`` if it cannot be found, fails, or returns something else.
    """
    place, colon, name = factory.partition(":")
    if not (place and colon and name):
        raise UsageError(f"factory {factory!r} is not of the form 'package.module:callable'")
    try:
        target: object = importlib.import_module(place)
        for part in name.split("."):
            target = getattr(target, part)
    except ImportError as error:
        raise UsageError(
            f"factory {factory!r}: {one_line(error)}; put its folder on PYTHONPATH or install its package"
        ) from error
    except AttributeError as error:
        raise UsageError(f"factory {factory!r}: {one_line(error)}") from error
    if not callable(target):
        raise UsageError(f"factory {factory!r} is a {type(target).__name__}, not a callable")
    try:
        module = target()
    # The factory is the user's code: whatever it raises is reported as its failure.
    except Exception as error:
        raise UsageError(
            f"factory {factory!r} failed with {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"factory {factory!r} returned a {type(module).__name__}, not a torch.nn.Module")
    return module


def fill(module: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Load ``weights`` into ``module``: the same names, the same shapes, no precision lost.

    Raises ``ArtefactRejected`` naming what does not fit and the file ``origin``.
    """
    own = module.state_dict()
    problems = [
        f"{kind} keys {_some(names)}"
        for kind, names in (
            ("missing", own.keys() - weights.keys()),
            ("unexpected", weights.keys() - own.keys()),
        )
        if names
    ]
    problems += [
        f"{name} has shape {tuple(weights[name].shape)}, the module expects {tuple(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if weights[name].shape != own[name].shape
    ][:3]
    if problems:
        raise ArtefactRejected(
            f"{origin} does not fit {type(module).__name__}: {'; '.join(problems)}; "
            "give the factory that built the trained network"
        )
    for name, value in weights.items():
        if not holds_exactly(value, own[name].dtype):
            raise ArtefactRejected(
                f"{origin}: {name} is {value.dtype} and loses precision in the module's {own[name].dtype}; "
                "cast the weights first and certify that network"
            )
    module.load_state_dict(dict(weights), strict=True)


def frozen_copy(module: nn.Module) -> nn.Module:
    """A float32 copy in evaluation mode whose weights take no gradients.

    Raises ``ArtefactRejected`` if it cannot be copied or has weights that float32 does not hold exactly.
    """
    try:
        module = copy.deepcopy(module).cpu()
    except (RuntimeError, TypeError) as error:
        raise ArtefactRejected(
            f"{type(module).__name__} cannot be copied: {one_line(error)}; "
            "detach the tensors it keeps as attributes"
        ) from error
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point() and not holds_exactly(value, torch.float32):
            raise ArtefactRejected(
                f"{type(module).__name__}: {name} is {value.dtype} and float32 does not hold it exactly; "
                "cast the module with .float() first and certify that network"
            )
    return module.float().eval().requires_grad_(False)


def holds_exactly(value: Tensor, dtype: torch.dtype) -> bool:
    """Whether a cast to ``dtype`` and back gives the same tensor; NaN is equal to itself."""
    there = value.to(dtype)
    return torch.equal(torch.nan_to_num(there.to(value.dtype)), torch.nan_to_num(value))


def _some(names: set[str], limit: int = 4) -> str:
    shown = ", ".join(sorted(names)[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
