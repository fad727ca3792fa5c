"""From files to modules: weights that are data, factories that are named, programs that are trusted."""

from certify.loading.checkpoint import read_weights
from certify.loading.limits import MAX_BYTES, check_file, one_line
from certify.loading.module import build, fill, frozen_copy, holds_exactly
from certify.loading.source import read_module

__all__ = [
    "MAX_BYTES",
    "build",
    "check_file",
    "fill",
    "frozen_copy",
    "holds_exactly",
    "one_line",
    "read_module",
    "read_weights",
]
