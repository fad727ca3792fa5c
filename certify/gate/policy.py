"""Policies: what a run must show before a model is let through, as a TOML file."""

from __future__ import annotations

import datetime
import difflib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from certify.config import read_table
from certify.errors import UsageError
from certify.gate.profile import Profile
from certify.gate.rules import RULES, Rule
from certify.reporting.schema import rules_digest


class _Part(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Waiver(_Part):
    """Lets one rule pass until a day: whoever owns it says why. expires: the last day it is in force."""

    rule: str
    reason: Said
    owner: Said
    expires: datetime.date

    def in_force(self, today: datetime.date) -> bool:
        """Whether it counts on a day."""
        return today <= self.expires


class Policy(_Part):
    """Rules, the profile they are judged in, and waivers. confidence: of each rule's bound, separately."""

    name: Annotated[str, Field(min_length=1)]
    profile: Profile = Profile.STANDARD
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    waivers: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        ids = Counter(rule.id for rule in self.rules)
        twice = [name for name, count in ids.items() if count > 1]
        if twice:
            raise ValueError(f"rule id {twice[0]!r} occurs twice; ids are unique")
        for waiver in self.waivers:
            if waiver.rule not in ids:
                raise ValueError(f"a waiver names rule {waiver.rule!r}, which there is not")
        return self

    def record(self) -> dict[str, Any]:
        """What is fixed before a run, as JSON values: name, confidence and rules.

        Waivers come after a run has shown that they are needed, and a profile says how it is judged.
        """
        return self.model_dump(mode="json", include={"name", "confidence", "rules"})

    def digest(self) -> str:
        """SHA-256 of the canonical bytes of ``record()``, in hex."""
        return rules_digest(self.record())


def read_policy(path: Path) -> Policy:
    """Read and check a policy file; raises ``UsageError`` with one line that names the first bad key."""
    table = read_table(path)
    try:
        _check_kinds(table.get("rules"))
        return Policy.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{path}: {_line(error)}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _check_kinds(rules: Any) -> None:
    """Refuse unknown kinds of rules, with a hint at what may be meant."""
    for place, rule in enumerate(rules if isinstance(rules, list) else []):
        kind = rule.get("kind") if isinstance(rule, dict) else None
        if kind not in RULES:
            close = difflib.get_close_matches(str(kind), RULES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(RULES)}"
            raise UsageError(f"rules.{place} has unknown kind {kind!r}; {hint}")


def _line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    # the discriminator stands in the place, but not in the file
    place = ".".join(str(part) for part in first["loc"] if part not in RULES)
    return f"{place}: {first['msg']}" if place else first["msg"]
