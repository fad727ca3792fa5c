"""Input regions. A region is known by its support function; certifiers and attacks share these values.

``support(a) = max a.z`` is all that a linear bound needs; ``argmax``, ``project`` and ``contains`` are all
that an attack needs; ``box`` is all that interval analysis needs. Regions are batched on axis 0.
"""

from bounds.sets.ball import Ball
from bounds.sets.base import InputSet
from bounds.sets.box import Box
from bounds.sets.line import Line
from bounds.sets.parts import L0Ball, Patch
from bounds.sets.subspace import Subspace
from bounds.sets.substitution import Substitution
from bounds.sets.tabular import Tabular

__all__ = ["Ball", "Box", "InputSet", "L0Ball", "Line", "Patch", "Subspace", "Substitution", "Tabular"]
