"""Evidence replayed on the model and the data themselves, on the CPU."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bounds.rounding import Level
from certify.audit.derived import plain
from certify.audit.evidence import distances, same, shown
from certify.binomial import binomial_tail
from certify.config import parse_config, read_table
from certify.decide import judged, proves
from certify.job import Job, prepare
from certify.ledger import Ledger
from certify.query import Query
from certify.reporting.schema import Report, SampleRadius, SampleVerdict, SmoothedModel
from certify.run import Run
from certify.smoothing import Smoothing
from certify.smoothing.laws import NoiseLaw
from certify.smoothing.modes import Fixed
from certify.smoothing.modes.decide import needed_probability
from certify.verdict import Verdict

Witnesses = Mapping[str, NDArray[Any]]
# A margin computed again elsewhere may be less by this share: other libraries, other orders of summation.
_MARGIN = 1e-4
# Votes drawn anew contradict a bound where they are less probable under it than this.
_IMPLAUSIBLE = 1e-6
_DRAWS = 10_000  # at most, for one radius
# Radii were rounded down; a share so much smaller is looked at, so that this plays no part.
_ROUNDED = 1e-9
_LEVELS = list(Level)
_MODEL_FACTS = ("weights_sha256", "graph_sha256", "input_shape", "num_classes", "parameters")


@dataclass(frozen=True, eq=False)
class Scene:
    """A report with what it speaks of. config, device: digest and device of the configuration as written."""

    report: Report
    job: Job
    config: str
    device: str

    @classmethod
    def of(cls, report: Report, path: Path, *, trust_code: bool = False) -> Scene:
        """Load what a configuration names, to run on the CPU whatever it says.

        trust_code: take programs as models, too. Raises the errors of ``certify.job.prepare``.
        """
        table = read_table(path)
        section = table.get("run", {})
        config = parse_config({**table, "run": {**section, "device": "cpu"}}, path.parent)
        device = section.get("device", "cpu") if isinstance(section, dict) else "cpu"
        written = config.model_copy(update={"run": config.run.model_copy(update={"device": device})})
        return cls(report, prepare(config.trusting(trust_code)), written.digest(), device)

    @property
    def run(self) -> Run:
        """How to compute."""
        return self.job.config.settings(lambda stage, done, total: None)

    def query(self, eps: float, samples: Sequence[int]) -> Query:
        """The question about some samples."""
        x, y = self.job.data.x[list(samples)], self.job.data.y[list(samples)]
        return Query(self.job.model, x, y, self.job.config.threat_at(eps), tuple(samples))


def identity_problems(scene: Scene) -> Iterator[str]:
    """Model, data and configuration that are not those of the report."""
    told, found = scene.report.identity, scene.job.identity
    for name, ours, theirs in (
        ("model", found.model, told.model),
        ("data", found.data, told.data),
        ("configuration", scene.config, told.config),
    ):
        if ours != theirs:
            yield f"the {name} has digest {ours[:12]}, the report speaks of {(theirs or 'none')[:12]}"
    ids = [row.sample for row in scene.report.samples]
    ids += [each.sample for model in scene.report.smoothing for each in model.samples]
    if max(ids, default=0) >= len(scene.job.data):
        yield f"the report speaks of sample {max(ids)}, the data has {len(scene.job.data)}"


def fact_problems(scene: Scene) -> Iterator[str]:
    """Facts about model, data and settings that are not so. What an author calls them is left aside."""
    report, about = scene.report, scene.job.about()
    claims = {m.name: (m.proves, m.attacks) for m in report.methods if m.kind != "smoothing"}
    both = (about["certifiers"], about["attacks"])
    told: list[tuple[str, Any, Any]] = [
        *((name, getattr(report.model, name), about["model"][name]) for name in _MODEL_FACTS),
        ("preprocessing", report.model.preprocessing, about["model"]["preprocessing"]),
        ("samples", report.data.n, about["data"]["n"]),
        ("samples per class", report.data.per_class, about["data"]["per_class"]),
        ("threat", report.threat.perturbation.name, about["threat"]["norm"]),
        ("eps", report.threat.perturbation.eps, about["threat"]["eps"]),
        ("methods", claims, {name: tuple(name in some for some in both) for name in about["deciders"]}),
        ("smoothing", _smoothings(report), about["smoothing"]["certifiers"]),
        ("settings", report.settings, {**about["run"], "device": scene.device}),
    ]
    if report.complete:
        asked = about["smoothing"]["samples"]
        told.append(("health checks", bool(report.health), scene.job.config.health is not None))
        told += [("smoothed samples", model.n, asked) for model in report.smoothing]
    for name, ours, theirs in told:
        if plain(ours) != plain(theirs):
            yield f"{name.replace('_', ' ')}: the report has {plain(ours)}, it is {plain(theirs)}"


def _smoothings(report: Report) -> list[str]:
    return [method.name for method in report.methods if method.kind == "smoothing"]


def prediction_problems(scene: Scene) -> Iterator[str]:
    """Samples whose clean answer is not what the report says."""
    rows = {row.sample: row for row in scene.report.samples}
    for samples in _batches(sorted(rows), scene.run.batch_size):
        query = scene.query(scene.report.curve[0].eps, samples)
        predicted, right = query.model.predictions(query.x, query.y, query.samples, scene.run)
        facts = zip(samples, query.y.tolist(), predicted.tolist(), right.tolist(), strict=True)
        for sample, label, answer, is_right in facts:
            row = rows[sample]
            if row.label != label or row.predicted not in (None, answer):
                yield f"sample {sample} has label {label} and is predicted as {answer}"
            if is_right == (row.verdict is Verdict.MISCLASSIFIED):
                yield f"sample {sample} is {'right' if is_right else 'wrong'}, not {row.verdict.value}"


def witnesses(report: Report, folder: Path | None) -> Witnesses:
    """The counterexamples at hand, by digest: those of the gallery, and of a run folder if there is one."""
    found: dict[str, NDArray[Any]] = {}
    for example in report.gallery:
        with suppress(ValueError):  # what cannot be read is told of with the gallery
            _, witness = shown(example)
            found[_sha256(witness)] = witness
    if folder is not None:
        with Ledger.read(folder) as ledger:
            rows = ledger.verdicts()
        found |= {_sha256(row.witness): row.witness for row in rows if row.witness is not None}
    return found


def replayable(report: Report, known: Witnesses) -> list[SampleVerdict]:
    """The falsified samples whose counterexample is at hand."""
    return [row for row in report.samples if row.witness_sha256 in known]


def counterexample_problems(scene: Scene, rows: Iterable[SampleVerdict], known: Witnesses) -> Iterator[str]:
    """Counterexamples that do not lie in their region, or that the model answers rightly."""
    for row in rows:
        query = scene.query(row.eps, [row.sample])
        point = torch.from_numpy(known[str(row.witness_sha256)].copy())[None]
        details = [_detail(scene.report, row)]
        inside = bool(query.reaches(point, details))
        (p_value,) = query.model.p_values(point, query.y, query.samples, scene.run, "audit")
        what = f"the counterexample of sample {row.sample} at eps {row.eps:g}"
        if not inside or p_value > row.alpha:
            yield f"{what} {'is answered rightly' if inside else 'lies outside of its region'}"
        (predicted,), _ = query.model.predictions(point, query.y, query.samples, scene.run)
        if row.adversarial != int(predicted):
            yield f"{what} is of class {int(predicted)}, not {row.adversarial}"
        measured = distances(query.x[0].numpy(), point[0].numpy())
        if any(not same((row.distances or {}).get(name), value) for name, value in measured.items()):
            yield f"{what} is {measured} away, not {row.distances}"


def certificates(report: Report, k: int, seed: int) -> list[SampleVerdict]:
    """k verified samples, drawn at random from all that were proved at their own eps."""
    proved = [r for r in report.samples if r.verdict is Verdict.VERIFIED and r.from_eps is None]
    return random.Random(seed).sample(proved, min(k, len(proved)))


def certificate_problems(scene: Scene, rows: Iterable[SampleVerdict]) -> Iterator[str]:
    """Proofs that cannot be made again at their level."""
    provers = {repr(each): each for each in scene.job.config.deciders}
    for row in rows:
        what = f"sample {row.sample} at eps {row.eps:g}"
        prover = provers.get(row.by or "")
        if prover is None:
            yield f"{what} was proved by {row.by}, which the configuration does not name"
            continue
        (found,) = judged(prover, scene.query(row.eps, [row.sample]), scene.run)
        margin, told = found.margin, row.margin or 0.0
        if not proves(found) or margin is None:
            yield f"{what} is not proved by {row.by}"
        elif row.level is not None and _rank(found.level) < _rank(row.level):
            yield f"{what} is proved at level {found.level}, not {row.level.value}"
        elif margin < told - _MARGIN * (1 + abs(told)):
            yield f"{what} has a margin of {margin:g}, not {told:g}"


def _rank(level: Level | None) -> int:
    return -1 if level is None else _LEVELS.index(level)


def radii(report: Report, k: int, seed: int) -> list[tuple[SmoothedModel, SampleRadius]]:
    """k certified radii, drawn at random."""
    found = [(m, each) for m in report.smoothing for each in m.samples if each.radius > 0]
    return random.Random(seed).sample(found, min(k, len(found)))


def radius_replay_problems(
    scene: Scene, drawn: Iterable[tuple[SmoothedModel, SampleRadius]], seed: int
) -> Iterator[str]:
    """Radii that votes drawn anew, with a seed of our own, make implausible."""
    run = replace(scene.run, seed=seed)
    for model, each in drawn:
        certifier = scene.job.config.smoothings.get(model.sigma)
        what = f"the radius of sample {each.sample} (sigma {model.sigma:g})"
        known = None if certifier is None else (repr(certifier.noise), repr(certifier.estimation))
        if certifier is None or known != (model.law, model.mode):
            yield f"{what} is of a smoothed classifier that the configuration does not name"
            continue
        truth = int(scene.job.data.y[each.sample])
        if truth != each.truth:
            yield f"{what}: the true class is {truth}, not {each.truth}"
        bound = _needed(model, each, certifier.noise)
        if bound is None:
            yield f"{what}: no votes give a radius of {each.radius:g}"
            continue
        hits, n = _votes(scene, certifier, each, run)
        if 0 < bound < 1 and binomial_tail(n - hits, n, 1 - bound) < _IMPLAUSIBLE:
            yield f"{what}: {hits} of {n} votes for class {each.label} speak against a share of {bound:g}"


def _needed(model: SmoothedModel, each: SampleRadius, law: NoiseLaw) -> float | None:
    """The probability that the label has at least, if the radius is right; None where there is none."""
    if model.mode.startswith("TwoSided("):  # the radius rests on the rival's votes, too
        told = each.detail.get("p_lower")
        return float(told) if isinstance(told, int | float) else None
    return needed_probability(law, each.radius * (1 - _ROUNDED))


def _votes(scene: Scene, certifier: Smoothing, each: SampleRadius, run: Run) -> tuple[int, int]:
    """How many of how many draws vote for the label: those of the selection, which all classes share."""
    told = each.detail.get("n")
    n = min(told, _DRAWS) if isinstance(told, int) and told > 0 else _DRAWS
    counter = replace(certifier, n0=n, n=None, mode=Fixed(1))
    found = counter.certify(scene.job.model, scene.job.data.x[[each.sample]], run, [each.sample])
    return int(found.selection[0][each.label]), n


def _detail(report: Report, row: SampleVerdict) -> Mapping[str, Any]:
    """How the attack made its counterexample, as its finding tells."""
    eps = row.eps if row.from_eps is None else row.from_eps
    source = next(r for r in report.samples if (r.eps, r.sample) == (eps, row.sample))
    return next((f.detail for f in source.findings if f.method == row.by), {})


def _batches(samples: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _sha256(array: NDArray[Any]) -> str:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()
