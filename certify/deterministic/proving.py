"""Proofs of single samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bounds.proof import Refused
from bounds.proving import prove
from bounds.proving.written import packed
from bounds.rounding import Level
from certify.query import Query


@dataclass(frozen=True)
class Checked:
    """A proof that the checker has accepted, as a file's bytes; leaves: pieces of the region."""

    data: bytes
    leaves: int


def proved(query: Query, place: int, level: Level, seconds: float) -> Checked | str:
    """A proof that one sample of a query is robust, or the reason why there is none."""
    model, one = query.model, torch.tensor([place])
    if model.graph is None or model.onnx is None:
        return "the model is no ONNX file by itself: it is a module, normalised, or has one output"
    if level is Level.FLOAT or not query.region.is_box:
        return "level float claims nothing" if query.region.is_box else "the region is no box"
    try:
        found = prove(
            model.graph, query.region[one], query.spec[one], model.onnx, timeout=seconds, level=level
        )
    except Refused as refusal:
        return f"the checker refuses: {refusal}"
    if found.proof is None or found.checked is None:
        return f"no proof was found in {seconds:g} s"
    return Checked(packed(found.proof), found.checked.leaves)
