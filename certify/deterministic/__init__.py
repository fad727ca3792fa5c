"""Deterministic certifiers: deciders whose claims hold without a failure probability."""

from certify.deterministic.bounding import CROWN, IBP
from certify.deterministic.complete import BranchAndBound

__all__ = ["CROWN", "IBP", "BranchAndBound"]
