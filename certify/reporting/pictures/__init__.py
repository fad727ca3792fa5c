"""The pictures of a report, each with its numbers as CSV."""

from __future__ import annotations

import math

from certify.reporting.pictures.accuracy import radius, sandwich
from certify.reporting.pictures.gallery import gallery
from certify.reporting.pictures.scatter import scatter
from certify.reporting.pictures.settled import cactus, classes, settling_times, waterfall
from certify.reporting.pictures.spread import margins, radii
from certify.reporting.pictures.style import Picture
from certify.reporting.schema import Report

__all__ = ["NAMES", "Picture", "pictures", "scatter"]

NAMES = ("curve", "gap", "classes", "margins", "cactus", "gallery", "radius", "radii")


def pictures(report: Report) -> list[Picture]:
    """All pictures that the report has numbers for, in the order of the page and of ``NAMES``."""
    found = [
        (sandwich, bool(report.curve)),
        (waterfall, bool(report.gap)),
        (classes, len({each.label for each in report.per_class}) > 1),
        (margins, any(row.margin is not None and math.isfinite(row.margin) for row in report.samples)),
        (cactus, any(any(seconds) for seconds in settling_times(report).values())),
        (gallery, bool(report.gallery)),
        (radius, bool(report.smoothing)),
        (radii, bool(report.smoothing)),
    ]
    return [draw(report) for draw, is_there in found if is_there]
