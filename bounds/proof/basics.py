"""What all parts of the checker share: arrays, and the one way in which something is turned down."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


class Refused(Exception):
    """What was not accepted, and why.

    place: where in the file, the network or the tree. reason: one clear line.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def refuse(when: object, place: str, reason: str) -> None:
    """Raise ``Refused`` where something is so: a truth value, or a container that ought to be empty."""
    if when:
        raise Refused(place, reason)
