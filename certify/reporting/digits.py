"""Digits that claim no more than the number they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Context, Decimal
from typing import TypeVar

T = TypeVar("T")


def thinned(values: Sequence[T], most: int = 25) -> list[T]:
    """At most so many of the values, evenly spread, the first and the last among them; most >= 2."""
    step = max(-(-(len(values) - 1) // (most - 1)), 1)
    last = list(values[-1:]) if (len(values) - 1) % step else []
    return [*values[::step], *last]


def rounded_down(value: float, digits: int = 4) -> str:
    """The largest number of ``digits`` significant digits that is not above ``value``, without closing zeros.

    For certified radii and margins, which hold for every smaller number and for no larger one.
    """
    found = Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(Decimal(value))
    return f"{found.normalize():g}" if found.is_finite() else f"{value:g}"
