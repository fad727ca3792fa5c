"""Noise whose law is known exactly: probabilities are integers over 2^60, no float decides anything."""

from certify.smoothing.exact.images import nearest_images
from certify.smoothing.exact.table import Table, table

__all__ = ["Table", "nearest_images", "table"]
