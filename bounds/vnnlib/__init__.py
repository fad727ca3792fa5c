"""VNN-LIB: properties of networks as text, and counterexamples to them."""

from bounds.vnnlib.counterexample import format_counterexample
from bounds.vnnlib.property import read_vnnlib

__all__ = ["format_counterexample", "read_vnnlib"]
