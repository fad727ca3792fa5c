"""Deterministic certifiers: deciders whose claims hold without a failure probability."""

from certify.deterministic.bounding import CROWN, IBP

__all__ = ["CROWN", "IBP"]
