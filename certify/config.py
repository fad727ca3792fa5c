"""Run configurations: TOML files, checked to the last key before any work starts."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from certify.attacks import ATTACKS
from certify.budgets import Budget, Resolved, Scale, Spaced
from certify.deterministic import CROWN, IBP, BranchAndBound
from certify.errors import UsageError
from certify.evidence import Claim, Decider
from certify.loading import MAX_BYTES
from certify.portfolio import Portfolio
from certify.run import Progress, Run
from certify.smoothing import MODES, Mode, Smoothing
from certify.threat import THREATS, Threat

DECIDERS: Mapping[str, type[Any]] = {
    **ATTACKS,
    "ibp": IBP,
    "crown": CROWN,
    "branch-and-bound": BranchAndBound,
    "portfolio": Portfolio,
}


_DRAWS = 10_000  # of a run, where the configuration does not say


class _Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """``[model]``: see ``certify.load``."""

    path: Path
    name: str | None = None
    factory: str | None = None
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    input_range: tuple[float, float] | Literal["none"] = (0.0, 1.0)
    input_shape: tuple[PositiveInt, ...] | None = None
    trust_code: bool = False
    max_bytes: PositiveInt = MAX_BYTES


class DataSection(_Section):
    """``[data]``: an ``.npz`` file, the names of its arrays, and how many samples to take.

    source, split, selection: for the report, where the file comes from and how its samples were chosen.
    hub: the data set's name on the Hugging Face Hub, for results in its manner.
    """

    path: Path
    x: str = "x"
    y: str = "y"
    limit: PositiveInt | None = None
    source: str | None = None
    hub: str | None = None
    split: str | None = None
    selection: str | None = None


class ThreatSection(_Section):
    """``[threat]``: a norm or another kind of change, and one budget or several, in its unit.

    resolution: of budgets given by one; a sample that stays open at two of them then counts as open between.
    """

    norm: Literal["linf", "l2", "l1", "l0", "pixels", "patch", "brightness", "contrast"]
    eps: tuple[Budget, ...] = Field(min_length=1)
    resolution: Scale | None = None


class SmoothingSection(_Section):
    """``[smoothing]``: certify the smoothed classifier too, for each sigma; see ``certify.Smoothing``.

    n: draws of the mode "fixed"; another mode has its parameters in ``[smoothing.mode]``.
    """

    sigma: tuple[Scale, ...] = Field(min_length=1)
    n0: PositiveInt = 100
    n: PositiveInt | None = None
    alpha: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    law: Literal["gaussian", "laplace", "uniform"] = "gaussian"
    exact: bool = False
    mode: Any = None
    samples: PositiveInt | None = None

    def certifier(self, sigma: float) -> Smoothing:
        """The certifier of one sigma."""
        return Smoothing(
            sigma,
            n0=self.n0,
            n=_DRAWS if self.n is None and self.mode is None else self.n,
            alpha=self.alpha,
            law=self.law,
            mode=self.mode,
            exact=self.exact,
        )


class HealthSection(_Section):
    """``[health]``: examine the attacks on the first samples; see ``certify.health``."""

    samples: PositiveInt


class RunSection(_Section):
    """``[run]``: see ``certify.Run``."""

    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: PositiveInt = 32
    device: str = "cpu"

    @field_validator("device")
    @classmethod
    def _is_there(cls, device: str) -> str:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise ValueError(f"this machine has no such device ({str(error).splitlines()[0]})") from error
        return device


class ReportSection(_Section):
    """``[report]``: how many counterexamples to show (0 keeps all images out), and compliance maps to add.

    times: whether it tells times; without them two runs of the same seed give the same bytes.
    """

    gallery: NonNegativeInt = 6
    maps: tuple[Path, ...] = ()
    times: bool = True


class Config(_Section):
    """A whole configuration; paths are absolute or relative to the working directory."""

    model: ModelSection
    data: DataSection
    threat: ThreatSection
    deciders: tuple[Any, ...] = Field(min_length=1)
    smoothing: SmoothingSection | None = None
    health: HealthSection | None = None
    run: RunSection = RunSection()
    report: ReportSection = ReportSection()

    @property
    def budgets(self) -> tuple[float, ...]:
        """Every eps once, ascending."""
        return tuple(sorted(set(self.threat.eps)))

    def threat_at(self, eps: float) -> Threat:
        """The threat with one of the budgets."""
        return THREATS[self.threat.norm](eps)

    @property
    def smoothings(self) -> Mapping[float, Smoothing]:
        """One certifier per sigma, ascending."""
        section = self.smoothing
        if section is None:
            return {}
        return {sigma: section.certifier(sigma) for sigma in sorted(set(section.sigma))}

    @property
    def attacks(self) -> tuple[Decider, ...]:
        """The deciders that find counterexamples and prove nothing."""
        return tuple(each for each in self.deciders if each.claims == {Claim.FALSIFIED})

    def trusting(self, trust_code: bool) -> Config:
        """The same configuration, with ``model.trust_code`` set too if ``trust_code``."""
        trusted = trust_code or self.model.trust_code
        return self.model_copy(update={"model": self.model.model_copy(update={"trust_code": trusted})})

    def settings(self, progress: Progress) -> Run:
        """How to compute."""
        return Run(
            device=self.run.device,
            seed=self.run.seed,
            batch_size=self.run.batch_size,
            progress=progress,
        )

    def describe(self) -> dict[str, Any]:
        """All that decides the results besides model and data, as JSON values."""
        return {
            "threats": [repr(self.threat_at(eps)) for eps in self.budgets],
            **({} if self.threat.resolution is None else {"resolution": self.threat.resolution}),
            "deciders": [repr(d) for d in self.deciders],
            "smoothing": [repr(s) for s in self.smoothings.values()],
            "health_samples": None if self.health is None else self.health.samples,
            "smoothing_samples": None if self.smoothing is None else self.smoothing.samples,
            **self.run.model_dump(),
        }

    def digest(self) -> str:
        """SHA-256 of ``describe()``, in hex: layout, comments and paths of the file do not count."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


def read_config(path: Path) -> Config:
    """Read and check a configuration; relative paths in it are relative to its own folder.

    Raises ``UsageError`` with one line: the first key that is unknown (and what may be meant), missing, or
    has a value outside its domain.
    """
    table = read_table(path)
    try:
        return parse_config(table, path.parent)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises ``UsageError`` for what cannot be read or is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML file: {error}") from error


def parse_config(table: Mapping[str, Any], folder: Path = Path()) -> Config:
    """A configuration from the tables of a file; relative paths are taken from ``folder``."""
    for name in table:
        if name not in Config.model_fields:
            raise UsageError(f"unknown key {name}{_suggestion(name, Config.model_fields)}")
    values = {name: _listed(section) for name, section in table.items()}
    values["deciders"] = _deciders(values.get("deciders"))
    if isinstance(values.get("smoothing"), dict) and "mode" in values["smoothing"]:
        values["smoothing"]["mode"] = _mode(values["smoothing"]["mode"])
    config: Config = _validated(TypeAdapter(Config), values, "")
    _ = config.smoothings  # what pydantic cannot see is refused here
    if config.health is not None and not config.attacks:
        raise UsageError('health examines attacks, and deciders.use has none; add one, such as "pgd"')
    model = config.model.model_copy(update={"path": folder / config.model.path})
    data = config.data.model_copy(update={"path": folder / config.data.path})
    maps = tuple(folder / path for path in config.report.maps)
    report = config.report.model_copy(update={"maps": maps})
    return config.model_copy(update={"model": model, "data": data, "report": report})


def _listed(section: Any) -> Any:
    """The same section, where one number may stand for a list of one, and a table for evenly spaced eps."""
    if not isinstance(section, dict):
        return section
    if isinstance(section.get("eps"), dict):
        return {**section, **_budgets(section["eps"])}
    lists = {key: [section[key]] for key in ("eps", "sigma") if isinstance(section.get(key), int | float)}
    return {**section, **lists}


def _budgets(table: Mapping[str, Any]) -> dict[str, Any]:
    """The budgets that a table of eps means."""
    if "resolution" in table:
        resolved: Resolved = _made(Resolved, table, "threat.eps")
        return {"eps": resolved.listed(), "resolution": resolved.resolution}
    spaced: Spaced = _made(Spaced, table, "threat.eps")
    return {"eps": spaced.listed()}


def _deciders(table: Any) -> tuple[Decider, ...]:
    """``use`` names the deciders in order; a table of the same name holds a decider's parameters."""
    if not isinstance(table, dict) or not isinstance(table.get("use"), list):
        raise UsageError('missing key deciders.use; give a list such as use = ["pgd", "crown"]')
    parameters = {name: value for name, value in table.items() if name != "use"}
    for name in (*table["use"], *parameters):
        if name not in DECIDERS:
            raise UsageError(f"unknown decider {name!r}{_suggestion(str(name), DECIDERS)}")
    for name in parameters:
        if name not in table["use"]:
            raise UsageError(f"[deciders.{name}] has parameters, but {name!r} is not in deciders.use")
    places = {name: f"deciders.{name}" for name in table["use"]}
    return tuple(_made(DECIDERS[n], parameters.get(n, {}), places[n]) for n in table["use"])


def _mode(table: Any) -> Mode:
    """``use`` names the mode; the other keys are its parameters."""
    if not isinstance(table, dict) or table.get("use") not in MODES:
        names = ", ".join(sorted(MODES))
        raise UsageError(
            f'smoothing.mode.use is no mode of estimation; write use = "..." with one of {names}'
        )
    parameters = {name: value for name, value in table.items() if name != "use"}
    mode: Mode = _made(MODES[table["use"]], parameters, "smoothing.mode")
    return mode


def _made(kind: type[Any], parameters: Any, place: str) -> Any:
    """A dataclass from the table of its parameters."""
    known = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(parameters, dict):
        raise UsageError(f"{place} is not a table; write [{place}]")
    for key in parameters:
        if key not in known:
            raise UsageError(f"unknown key {place}.{key}{_suggestion(key, known)}")
    return _validated(TypeAdapter(kind), parameters, f"{place}.")


def _validated(adapter: TypeAdapter[Any], values: Mapping[str, Any], prefix: str) -> Any:
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        raise UsageError(_line(error, prefix)) from error


def _line(error: ValidationError, prefix: str) -> str:
    """The first problem in one line; unknown keys first, for a typo also makes another key missing."""
    problems = error.errors(include_url=False)
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = [str(part) for part in first["loc"]]
    key = prefix + ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(place[-1], _keys(place[:-1]))}"
    if first["type"] == "missing":
        return f"missing key {key}"
    return f"{key}: {first['msg']}, not {first['input']!r}"


def _keys(place: list[str]) -> Iterable[str]:
    """The keys known at a place of the file."""
    sections: dict[str, type[BaseModel]] = {
        "model": ModelSection,
        "data": DataSection,
        "threat": ThreatSection,
        "smoothing": SmoothingSection,
        "health": HealthSection,
        "run": RunSection,
        "report": ReportSection,
    }
    section = sections[place[0]] if place else Config
    return section.model_fields


def _suggestion(word: str, known: Iterable[str]) -> str:
    """A hint at what may be meant."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
