"""What the suite of attacks and a peer's worker say to each other; needs nothing beyond Python."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class AttackCase:
    """The first ``images`` of a recorded data set, attacked in a ball. norm: as the peer names it."""

    net: str
    data: str
    norm: str
    eps: float
    images: int
    threads: int

    def line(self) -> str:
        """The case as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> AttackCase:
        """The case that ``line`` gave as text."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class AttackAnswer:
    """What an attack reached. Passes are per image, seconds of all; error: why there is no result."""

    robust_accuracy: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    forwards: float = 0.0
    backwards: float = 0.0
    error: str | None = None

    def line(self) -> str:
        """The answer as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> AttackAnswer:
        """The answer that ``line`` gave as text."""
        return cls(**json.loads(line))
