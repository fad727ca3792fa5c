"""Operators beyond those of piecewise linear networks. The checker refuses them where this folder is not."""

from bounds.proof.more.moves import MOVING
from bounds.proof.more.operators import COMPUTING

MORE = COMPUTING | MOVING

__all__ = ["MORE"]
