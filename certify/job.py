"""The main job: everything that a configuration asks about, batch by batch, into a ledger.

The batches are fixed by the samples' ids, and each is computed from nothing but its samples and the rows
already recorded for them, so a job that was interrupted gives the numbers of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from certify.checkpoint import checkpointed
from certify.checkup import health
from certify.config import Config
from certify.contradiction import Reproducer
from certify.dataset import Dataset, load_npz
from certify.datasheet import data_sheet, model_card
from certify.decide import check_deciders, evaluate_batch
from certify.evidence import Claim
from certify.ledger import Identity, Json, Ledger
from certify.model import Model, load
from certify.monotone import bisection, check, implied, is_asked
from certify.query import Query, check_samples
from certify.rows import RadiusRow, VerdictRow, radius_rows, verdict_row
from certify.run import Progress, Run
from certify.smoothing import Smoothing
from certify.smoothing.votes import Votes
from certify.versions import Writer

_HEALTH = "health of the attacks"


@dataclass(frozen=True, eq=False)
class Job:
    """A checked configuration with its model and data."""

    config: Config
    model: Model
    data: Dataset

    @property
    def identity(self) -> Identity:
        """What the run folder belongs to."""
        return Identity(self.model.digest, self.data.digest, self.config.digest())

    def about(self) -> dict[str, Any]:
        """What the run is about, as JSON values."""
        config, model = self.config, self.model
        smoothing = config.smoothing
        return {
            "identity": vars(self.identity),
            "model": model_card(model, config.model),
            "data": data_sheet(self.data, config.data),
            "threat": {"norm": config.threat.norm, "eps": list(config.budgets)},
            "deciders": [repr(d) for d in config.deciders],
            "attacks": [repr(d) for d in config.deciders if Claim.FALSIFIED in d.claims],
            "certifiers": [repr(d) for d in config.deciders if Claim.ROBUST in d.claims],
            "smoothing": {
                "certifiers": [repr(s) for s in config.smoothings.values()],
                "samples": 0
                if smoothing is None
                else min(smoothing.samples or len(self.data), len(self.data)),
            },
            "run": config.run.model_dump(),
            "report": config.report.model_dump(mode="json"),
        }


def prepare(config: Config) -> Job:
    """Load model and data and check that every question can be answered, before any work starts.

    Raises the errors of ``certify.load`` and ``load_npz``, and ``UsageError`` for samples that do not fit the
    model or a decider that does not support the query.
    """
    part = config.model
    model = load(
        part.path,
        name=part.name,
        factory=part.factory,
        mean=part.mean,
        std=part.std,
        input_range=None if part.input_range == "none" else part.input_range,
        input_shape=part.input_shape,
        trust_code=part.trust_code,
        max_bytes=part.max_bytes,
    )
    data = load_npz(config.data.path, config.data.x, config.data.y, config.data.limit)
    check_samples(model, data.x, data.y)
    model = model.to(config.run.device)
    job = Job(config, model, data)
    for eps in config.budgets:
        check_deciders(_query(job, eps, range(1)), config.deciders)
    return job


def fill(job: Job, folder: Path, progress: Progress, policy: Json | None = None) -> None:
    """Compute what the ledger of the run folder lacks; each finished batch is on disk before the next begins.

    policy: that the run will be judged by, to be recorded before anything is computed. Raises
    ``RunMismatch`` if the folder belongs to another job. Where samples are both proved and attacked,
    all that can be computed is computed and kept, each reproducer lies in the folder as a file of its own
    beside the ledger, and at the end, now and whenever the job is run again, ``Contradiction`` is raised.
    """
    run = job.config.settings(progress)
    with Ledger.open(folder, job.identity, job.about(), Writer.here()) as ledger:
        if policy is not None:
            ledger.record_policy(policy)
        _decide(job, ledger, run)
        _examine(job, ledger, run)
        _smooth(job, ledger, run)
        contradictions = ledger.contradictions()
    for each in contradictions:
        each.save(folder)
    if contradictions:
        raise contradictions[0].error()


def _decide(job: Job, ledger: Ledger, run: Run) -> None:
    """Verdicts of every sample at every eps."""
    budgets = bisection(job.config.budgets)
    finished = {eps: ledger.finished(_stage("eps", eps)) for eps in budgets}
    batches = _batches(len(job.data), run.batch_size)
    total = len(batches) * len(budgets)
    for number, samples in enumerate(batches):
        known = [row for row in ledger.verdicts(samples) if is_asked(row)]
        for place, eps in enumerate(budgets):
            run.progress("attack and certify", number * len(budgets) + place, total)
            if number not in finished[eps]:
                start = time.perf_counter()
                rows, alarms = _verdicts(job, eps, samples, known, run)
                known += [row for row in rows if is_asked(row)]
                seconds = time.perf_counter() - start
                marked = [(eps, each) for each in alarms]
                ledger.record(_stage("eps", eps), number, seconds, rows, contradictions=marked)
    run.progress("attack and certify", total, total)


def _examine(job: Job, ledger: Ledger, run: Run) -> None:
    """Health of the attacks on the first samples, at the budget in the middle."""
    section, eps = job.config.health, bisection(job.config.budgets)[0]
    if section is None or ledger.finished(_HEALTH):
        return
    start = time.perf_counter()
    query = _query(job, eps, range(min(section.samples, len(job.data))))
    found = health(
        job.model, query.x, query.y, query.threat, attacks=job.config.attacks, run=run, samples=query.samples
    )
    ledger.record(_HEALTH, 0, time.perf_counter() - start, health=[(eps, found)])


def _verdicts(
    job: Job, eps: float, samples: range, known: Sequence[VerdictRow], run: Run
) -> tuple[list[VerdictRow], list[Reproducer]]:
    """One row per sample: what follows from the known answers, and the deciders' own for the rest.

    And the contradictions: within the answers, and between them and the known ones.
    """
    query = _query(job, eps, samples)
    rows = implied(query, eps, known, between=job.config.threat.resolution is not None)
    asked = query[torch.tensor([sample not in rows for sample in samples], device=run.device)]
    alarms: list[Reproducer] = []
    if asked.samples:
        for result in evaluate_batch(asked, job.config.deciders, run):
            rows[result.sample] = verdict_row(eps, result)
            alarms += [] if result.contradiction is None else [result.contradiction]
        alarms += check(query, [*known, *(row for row in rows.values() if is_asked(row))], run)
    return [rows[sample] for sample in samples], alarms


def _query(job: Job, eps: float, samples: range) -> Query:
    part, device = slice(samples.start, samples.stop), job.config.run.device
    x, y = job.data.x[part].to(device), job.data.y[part].to(device)
    return Query(job.model, x, y, job.config.threat_at(eps), tuple(samples))


def _smooth(job: Job, ledger: Ledger, run: Run) -> None:
    """Labels and radii of the smoothed classifiers."""
    batches = _batches(job.about()["smoothing"]["samples"], run.batch_size)
    for sigma, certifier in job.config.smoothings.items():
        stage = _stage("sigma", sigma)
        finished = ledger.finished(stage)
        with checkpointed(ledger, repr(certifier.noise)) as votes:
            for number, samples in enumerate(batches):
                run.progress(f"smoothing, {stage}", number, len(batches))
                if number not in finished:
                    start = time.perf_counter()
                    rows = _radii(job, sigma, certifier, samples, run, votes)
                    ledger.record(stage, number, time.perf_counter() - start, radii=rows)
        run.progress(f"smoothing, {stage}", len(batches), len(batches))


def _radii(
    job: Job, sigma: float, certifier: Smoothing, samples: range, run: Run, votes: Votes
) -> list[RadiusRow]:
    part = slice(samples.start, samples.stop)
    result = certifier.certify(job.model, job.data.x[part], run, samples, votes)
    return radius_rows(sigma, samples, job.data.y[part].tolist(), result, certifier.noise)


def _batches(total: int, size: int) -> list[range]:
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def _stage(name: str, value: float) -> str:
    return f"{name}={value!r}"
