"""How far attacks are to be believed: the outcomes of health checks, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

# What a curve of attacks is once a health check has failed.
UNRELIABLE = "upper bound only, unreliable"


class Outcome(Enum):
    """How a check ended."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    NOT_RUN = "not run"  # it does not apply to these attacks or this model; never a pass


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    method: the paper. measured: a number that is larger where things are worse, None of a check that was not
    run. warn, fail: the outcome is worse where the number is above these; None for never. sentence: what it
    means, for the report.
    """

    name: str
    method: str
    outcome: Outcome
    measured: float | None
    warn: float
    fail: float | None
    sentence: str

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "outcome": self.outcome.value}

    @property
    def threshold(self) -> str:
        """The two thresholds as text."""
        fail = "" if self.fail is None else f", fail above {self.fail:g}"
        return f"warn above {self.warn:g}{fail}"


@dataclass(frozen=True)
class Health:
    """The outcomes of all checks of some attacks on one model.

    samples: how many rightly classified samples the attacks were tried on. attacks: their ``repr``.
    """

    model: str
    threat: str
    attacks: tuple[str, ...]
    samples: int
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that failed: the attacks' numbers are not to be believed."""
        return self._with(Outcome.FAIL)

    @property
    def warned(self) -> tuple[Finding, ...]:
        """The checks that warned."""
        return self._with(Outcome.WARN)

    @property
    def reliable(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def summary(self) -> str:
        """One sentence."""
        names = ", ".join(each.name for each in self.failed or self.warned)
        if self.failed:
            return f"Accuracy under attack is an {UNRELIABLE}: failed health checks: {names}."
        ran = sum(each.outcome is not Outcome.NOT_RUN for each in self.findings)
        text = f"No health check of the attacks failed, of {ran} that were run on {self.samples} samples"
        return f"{text}; warnings: {names}." if names else f"{text}."

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "attacks": list(self.attacks), "findings": [f.record() for f in self.findings]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """That of a record."""
        findings = tuple(Finding(**{**f, "outcome": Outcome(f["outcome"])}) for f in record["findings"])
        return cls(**{**record, "attacks": tuple(record["attacks"]), "findings": findings})

    def _with(self, outcome: Outcome) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.outcome is outcome)

    def __str__(self) -> str:
        head = ("check", "outcome", "measured", "threshold", "method")
        body = [(f.name, f.outcome.value, shown(f.measured), f.threshold, f.method) for f in self.findings]
        return "\n".join([*_aligned([head, *body]), self.summary])


def shown(measured: float | None) -> str:
    """The measured number as text."""
    return "" if measured is None else f"{measured:.3g}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
