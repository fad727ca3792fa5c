"""What leaves the house: 8-bit images that are judged again, and the JSON that leaderboards take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from certify.decide import refutes
from certify.empirical.attacked import Attacked
from certify.errors import UsageError
from certify.query import Query

_LEVELS = 255


def nearest_image(query: Query, points: Tensor) -> tuple[Tensor, Tensor]:
    """The points as 8-bit images, and which of them are counterexamples still.

    query: the samples that the points were found for, under a threat; points: (batch, *input_shape).
    Returns uint8 of that shape (levels of the model's input range) and (batch,) booleans: rounding may leave
    the region or lose the wrong answer, so that each image is judged again as the model would read it.
    Raises ``UsageError`` for a model without an input range.
    """
    valid = query.model.input_range
    if valid is None:
        raise UsageError(f"{query.model.name} has no input range; 8-bit levels need one")
    low, high = valid
    levels = ((points.double() - low) / (high - low) * _LEVELS).round().clamp(0, _LEVELS)
    read = (low + levels / _LEVELS * (high - low)).to(points.dtype)
    reached = query.reaches(read, [{}] * len(read))
    return levels.to(torch.uint8), reached & refutes(query.model, query.region, query.spec, read)


def robustbench(result: Attacked, *, dataset: str, architecture: str, **about: str) -> dict[str, Any]:
    """A record in the form of RobustBench's model information files (Croce et al. 2021), accuracies in %.

    about: further entries of such a file, such as ``name``, ``authors``, ``link`` and ``venue``. The key
    "autoattack_acc" is left to whoever ran AutoAttack: ours stand under "robust_acc" with the attacks' names.
    """
    return {
        **about,
        "dataset": dataset,
        "architecture": architecture,
        "threat_model": repr(result.threat),
        "eps": getattr(result.threat, "eps", None),
        "clean_acc": round(100 * result.clean_accuracy, 2),
        "robust_acc": round(100 * result.robust_accuracy, 2),
        "attacks": {name: round(100 * each, 2) for name, each in result.accuracy.items()},
        "number_of_samples": len(result),
        "number_of_forward_passes": int(result.trials.forwards.sum()),
        "number_of_backward_passes": int(result.trials.backwards.sum()),
        "model_sha256": result.digest,
    }
