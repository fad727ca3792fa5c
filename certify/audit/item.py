"""One thing that an audit looked at, and what it found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from certify.errors import Exit


class Outcome(Enum):
    """What came of looking."""

    CONFIRMED = "confirmed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Item:
    """code: the exit code that it asks for where it failed."""

    what: str
    outcome: Outcome
    sentence: str
    code: Exit = Exit.FAILED


def item(what: str, confirmed: str, problems: Iterable[str], code: Exit = Exit.FAILED) -> Item:
    """The item of all problems that were found, or of none."""
    found = list(problems)
    if not found:
        return Item(what, Outcome.CONFIRMED, confirmed, code)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Item(what, Outcome.FAILED, f"{found[0]}{more}", code)


def skipped(what: str, reason: str) -> Item:
    """Something that could not be looked at, and why."""
    return Item(what, Outcome.NOT_CHECKED, reason)
