"""One sample both proved robust and attacked: what is to blame, and the file with which to look again."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import bounds
from bounds.rounding import Level
from certify.errors import ArtefactRejected, CertifyError, Contradiction, StatisticalContradiction, UsageError
from certify.evidence import Evidence, joint_chance
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import THREATS, Threat, named
from certify.versions import installed

FORMAT = 1

# The graph and the network that it was made of differ by rounding alone up to this share of the outputs.
_SAME = 1e-4
# What the float32 arithmetic of a certificate without an account of rounding may be off by, as such a share.
_ROUNDING = 1e-5


class Cause(Enum):
    """What is to blame for a contradiction."""

    ALARM = "alarm"  # certifier or attack is wrong
    ROUNDING = "rounding"  # only the rounding of the execution breaks what holds in exact arithmetic
    CONFIG = "config"  # the two speak of different things


@dataclass(frozen=True)
class Side:
    """One side of a contradiction: its decider's ``repr``, what it speaks of, and what it claims.

    model: the digest, over weights, normalisation and input range. margin, level: of a certificate.
    """

    decider: str
    model: str
    threat: Threat
    label: int
    margin: float | None = None
    level: Level | None = None
    alpha: float = 0.0

    @classmethod
    def of(cls, query: Query, place: int, evidence: Evidence) -> Side:
        """What a decider said of the query's sample at ``place``."""
        return cls(
            evidence.decider,
            query.model.digest,
            query.threat,
            int(query.y[place]),
            evidence.margin,
            evidence.level,
            evidence.alpha,
        )

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        level = None if self.level is None else self.level.value
        return {**vars(self), "threat": list(_threat_record(self.threat)), "level": level}


@dataclass(frozen=True, eq=False)
class Reproducer:
    """All that it takes to look at a contradiction again, besides the model.

    x, witness: of the model's input shape, on the CPU. cause, reason: see ``found``. seed: of the run.
    """

    sample: int
    x: Tensor
    witness: Tensor
    proof: Side
    attack: Side
    seed: int
    cause: Cause
    reason: str
    versions: Mapping[str, str] = field(default_factory=installed)

    @property
    def chance(self) -> float:
        """At most the probability that sampling alone makes such a contradiction; 0 for exact methods."""
        return joint_chance(self.proof.alpha, self.attack.alpha)

    def __str__(self) -> str:
        proof = self.proof
        level = "statistical" if proof.level is None else f"level {proof.level.value}"
        return (
            f"{self.cause.value.upper()}: sample {self.sample} is proved robust to {proof.threat!r} by "
            f"{proof.decider} (margin >= {proof.margin:g}, {level}) and attacked by {self.attack.decider} "
            f"with a replayed counterexample; {self.reason}"
        )

    def error(self) -> Contradiction:
        """The error to raise."""
        place = (self.sample, self.x, self.proof.label, self.witness)
        if self.chance:
            return StatisticalContradiction(str(self), *place, self.chance)
        return Contradiction(str(self), *place)

    def record(self) -> dict[str, Any]:
        """All but the tensors, as JSON values."""
        return {
            "format": FORMAT,
            "sample": self.sample,
            "cause": self.cause.value,
            "reason": self.reason,
            "proof": self.proof.record(),
            "attack": self.attack.record(),
            "seed": self.seed,
            "versions": dict(self.versions),
        }

    @property
    def file_name(self) -> str:
        """A name of its own in a run folder."""
        _, eps = _threat_record(self.proof.threat)
        return f"contradiction-{self.sample}-{eps}.npz"

    def to_bytes(self) -> bytes:
        """An ``.npz`` file without pickled objects: x, witness, and the record as JSON text."""
        buffer = io.BytesIO()
        about = json.dumps(self.record(), sort_keys=True, allow_nan=False)
        np.savez(buffer, x=self.x.numpy(), witness=self.witness.numpy(), about=np.array(about))
        return buffer.getvalue()

    def save(self, folder: Path) -> Path:
        """Write the file into a folder, which is made if it is missing; returns its path."""
        path = folder / self.file_name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.to_bytes())
        except OSError as error:
            raise CertifyError(
                f"{path} cannot be written: {error.strerror}; check disk space and rights"
            ) from error
        return path

    @classmethod
    def from_bytes(cls, data: bytes, title: str = "the reproducer") -> Reproducer:
        """Read a file's bytes; nothing in them is executed. Raises ``ArtefactRejected``."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                x, witness = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["witness"])
            return cls(
                about["sample"],
                x,
                witness,
                _side(about["proof"]),
                _side(about["attack"]),
                about["seed"],
                Cause(about["cause"]),
                about["reason"],
                about["versions"],
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ArtefactRejected(
                f"{title} is no reproducer of a contradiction, or damaged; give a file that a run has written"
            ) from error

    @classmethod
    def load(cls, path: Path) -> Reproducer:
        """Read a file; raises ``ArtefactRejected`` for one that cannot be read or is none."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ArtefactRejected(f"{path} cannot be read: {error.strerror}") from error
        return cls.from_bytes(data, str(path))


def found(
    model: Model, sample: int, x: Tensor, witness: Tensor, proof: Side, attack: Side, run: Run
) -> Reproducer:
    """The reproducer of a contradiction, with its cause.

    CONFIG where the two sides speak of another model, threat or label, or the graph that was bounded is not
    the network that was attacked, as their outputs tell. ROUNDING where the specification holds at the
    witness in exact arithmetic (proved by interval arithmetic with an account of every rounding error, or
    where that is too wide, in float64) and the certificate does not speak of the execution, or where a
    certificate without account of rounding is off by no more than rounding. ALARM for all else, also where
    the model has no graph on which to look again.
    """
    x, witness = x.detach().cpu(), witness.detach().cpu()
    cause, reason = _cause(model, x, witness, proof, attack)
    return Reproducer(sample, x, witness, proof, attack, run.seed, cause, reason)


def _cause(model: Model, x: Tensor, witness: Tensor, proof: Side, attack: Side) -> tuple[Cause, str]:
    differing = [
        name
        for name, ours, theirs in (
            ("model (weights, normalisation or input range)", proof.model, attack.model),
            ("label", proof.label, attack.label),
            ("kind of threat", type(proof.threat), type(attack.threat)),
        )
        if ours != theirs
    ]
    if differing:
        return Cause.CONFIG, f"the two speak of another {' and another '.join(differing)}"
    chance = joint_chance(proof.alpha, attack.alpha)
    if chance:
        return (
            Cause.ALARM,
            f"one of them is wrong, or this is one of the failures that alpha {chance:g} allows",
        )
    if model.graph is None:
        return Cause.ALARM, "one of them is wrong; the model has no graph to look at again in float64"
    gap = _gap(model, model.graph, torch.stack([x, witness]))
    if gap > _SAME:
        return Cause.CONFIG, (
            f"the graph that was bounded and the network that was attacked differ by {gap:.2g} of their "
            "outputs: weights or normalisation are not the same"
        )
    return _rechecked(model, model.graph, witness, proof)


def _gap(model: Model, graph: bounds.Graph, points: Tensor) -> float:
    """By how much network and graph differ in the dtype of the points, as a share of the outputs."""
    with torch.no_grad():
        ours = graph.to(points.dtype, "cpu")(points).flatten(1)
        theirs = model.to("cpu")(points)
    gap = float((ours - theirs).abs().max()) / (1.0 + float(theirs.abs().max()))
    return torch.inf if math.isnan(gap) else gap


def _rechecked(model: Model, graph: bounds.Graph, witness: Tensor, proof: Side) -> tuple[Cause, str]:
    """ROUNDING or ALARM, from the margin at the witness in float64 and its bound in exact arithmetic."""
    point = witness.double()[None]
    spec = model.spec(torch.tensor([proof.label])).to(torch.float64)
    with torch.no_grad():
        outputs = graph.to(torch.float64, "cpu")(point).flatten(1)
        margin = float(spec.worst(spec.evaluate(outputs)))
    try:
        at_least = float(
            spec.worst(bounds.bound(graph.to(device="cpu"), bounds.Box(point, point), spec, "ibp").lower)
        )
    except bounds.BoundsError:
        at_least = -torch.inf
    if margin > 0 and proof.level is Level.DEPLOYED:
        return Cause.ALARM, (
            f"in float64 the margin at the counterexample is {margin:.3g}, but level deployed covers float32 "
            "executions: one of them is wrong, or the model runs in other arithmetic than plain float32"
        )
    if at_least > 0:
        return Cause.ROUNDING, (
            f"in exact arithmetic the margin at the counterexample is at least {at_least:.3g}, and only the "
            "rounding of the execution breaks it: certify at level deployed"
        )
    if margin > 0:
        return Cause.ROUNDING, (
            f"in float64 the margin at the counterexample is {margin:.3g}, and only the rounding of the "
            "execution breaks it: certify at level deployed"
        )
    if proof.level is Level.FLOAT and -margin <= _ROUNDING * (1.0 + float(outputs.abs().max())):
        return Cause.ROUNDING, (
            f"the margin at the counterexample is {margin:.3g} in float64, within the rounding that level "
            "float does not account for: certify at level real or deployed"
        )
    return Cause.ALARM, f"the margin at the counterexample is {margin:.3g} in float64: one of them is wrong"


def _threat_record(threat: Threat) -> tuple[str, float | None]:
    """Name and budget; the ``repr`` of a threat that has no name."""
    try:
        return named(threat)
    except UsageError:
        return repr(threat), None


def _side(record: Mapping[str, Any]) -> Side:
    name, eps = record["threat"]
    level = None if record["level"] is None else Level(record["level"])
    return Side(**{**record, "threat": THREATS[name](eps), "level": level})
