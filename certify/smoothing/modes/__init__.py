"""Modes of estimation, one file each."""

from certify.smoothing.modes.base import Ask, Estimate, Estimation, Mode
from certify.smoothing.modes.fixed import Fixed

__all__ = ["Ask", "Estimate", "Estimation", "Fixed", "Mode"]
