"""Smoothing without chance: every copy of a finite law votes once, so that nothing is estimated.

``base`` what a finite law is; ``patches`` bands and blocks that stay visible; ``splitting`` intervals that
8-bit numbers fall into; ``model`` the classifier that the votes make; ``certifier`` what it provably does.
"""

from certify.smoothing.derandomized.base import FiniteLaw
from certify.smoothing.derandomized.certifier import Derandomized, EnumerationResult
from certify.smoothing.derandomized.model import Enumerated
from certify.smoothing.derandomized.patches import Bands, Blocks
from certify.smoothing.derandomized.splitting import Splitting

FINITE_LAWS: dict[str, type[FiniteLaw]] = {"bands": Bands, "blocks": Blocks, "splitting": Splitting}

__all__ = [
    "FINITE_LAWS",
    "Bands",
    "Blocks",
    "Derandomized",
    "Enumerated",
    "EnumerationResult",
    "FiniteLaw",
    "Splitting",
]
