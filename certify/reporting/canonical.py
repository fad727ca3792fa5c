"""Canonical bytes of JSON values: RFC 8785, which says what any two programs must agree on.

That format has no NaN, no infinities and no integers beyond 2^53 - 1. Here they are the strings "NaN",
"Infinity", "-Infinity" and the decimal digits, which a typed field reads back as the number that it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

from certify.errors import ArtefactRejected

# The largest integer that all JSON readers keep: ECMAScript's Number.MAX_SAFE_INTEGER.
SAFE = 2**53 - 1


def canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value; equal values have equal bytes.

    Raises ``TypeError`` for what is no JSON value and ``ValueError`` for text that is no Unicode.
    """
    return rfc8785.dumps(_plain(value))


def parsed(data: bytes) -> Any:
    """The JSON value of canonical bytes; numbers without a decimal point are integers.

    Raises ``ArtefactRejected`` for bytes that are not canonical: a report is the same to the last byte or it
    is another one.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_int=_integer)
        same = canonical(value) == data
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtefactRejected(f"this is no JSON text: {error}; give the file as it was written") from error
    if not same:
        raise ArtefactRejected(
            "this JSON text is not in the canonical form of RFC 8785; give the file as it was written, "
            "for another layout has other hashes"
        )
    return value


def _plain(value: Any) -> Any:
    """The value in what the canonical form can express."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value


def _integer(digits: str) -> int | float:
    """Digits beyond the safe integers are those of a float: an integer would have been a string."""
    value = int(digits)
    return value if abs(value) <= SAFE else float(value)
