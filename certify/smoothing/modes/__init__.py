"""Modes of estimation, one file each."""

from collections.abc import Mapping

from certify.smoothing.modes.anytime import Anytime
from certify.smoothing.modes.base import Ask, Estimate, Estimation, Mode, Trace, retraced, traced
from certify.smoothing.modes.decide import Decide
from certify.smoothing.modes.fixed import Fixed
from certify.smoothing.modes.grid import Grid
from certify.smoothing.modes.planned import Planned
from certify.smoothing.modes.two_sided import TwoSided

# Named for configurations and records.
MODES: Mapping[str, type[Mode]] = {
    mode.name: mode for mode in (Fixed, TwoSided, Decide, Grid, Planned, Anytime)
}

__all__ = [
    "MODES",
    "Anytime",
    "Ask",
    "Decide",
    "Estimate",
    "Estimation",
    "Fixed",
    "Grid",
    "Mode",
    "Planned",
    "Trace",
    "TwoSided",
    "retraced",
    "traced",
]
