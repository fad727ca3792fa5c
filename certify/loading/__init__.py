"""From files to modules: weights that are data, and factories that the user names."""

from certify.loading.checkpoint import check_file, read_weights
from certify.loading.module import build, fill, frozen_copy

__all__ = ["build", "check_file", "fill", "frozen_copy", "read_weights"]
