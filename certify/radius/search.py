"""The search of one batch: failures from above, bounds from below, branch and bound in between."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from bounds.rounding import Level
from certify.attacks.base import Problem
from certify.attacks.minimal import DistanceAttack, Minimum
from certify.attacks.norms import distance
from certify.contradiction import Side, found
from certify.decide import judged
from certify.deterministic.bounding import supports
from certify.errors import UsageError
from certify.falsify import FromStarts
from certify.model import answers
from certify.query import Query
from certify.radius.bracket import Bracket
from certify.run import Run
from certify.threat import L1, L2, Linf

_BOUNDINGS = 8  # of CROWN at most, before any branching
_NAME = "certified_radius"
Ball = Linf | L2 | L1


@dataclass(frozen=True, eq=False)
class Search:
    """One batch of samples. threat: the query's. brackets: of what the model gets right, by place.

    end: on the clock ``time.monotonic``.
    """

    query: Query
    threat: Ball
    graph: bounds.Graph
    level: Level
    run: Run
    end: float
    brackets: dict[int, Bracket]

    @classmethod
    def of(
        cls, query: Query, threat: Ball, seconds: float, tolerance: float, level: Level, run: Run
    ) -> Search:
        """Nothing is known yet but where the model is right."""
        graph = query.model.graph
        if graph is None:
            raise UsageError(supports(query) or "no graph")
        right = query.model.predictions(query.x, query.y, query.samples, run)[1]
        places = right.nonzero()[:, 0].tolist()
        brackets = {i: Bracket(threat.eps, tolerance, query.x[i]) for i in places}
        end = time.monotonic() + seconds
        return cls(query, threat, graph, level, run, end, brackets)

    def run_through(self, attacks: Sequence[DistanceAttack]) -> None:
        """Until every bracket is closed, or the time is over."""
        if not self.brackets:
            return
        places = list(self.brackets)
        asked = self.query[self._mask(places)]
        for each in attacks:
            for place, evidence in zip(places, judged(Minimum(each), asked, self.run), strict=True):
                if evidence.witness is not None:
                    self._failed(place, evidence.witness, evidence.decider)
        self._bound()
        while time.monotonic() < self.end and (places := [i for i, b in self.brackets.items() if b.is_open]):
            rounds = max(self.brackets[i].rounds for i in places)
            self._decide(places, (self.end - time.monotonic()) / rounds)
        self._cross_check()

    def _bound(self) -> None:
        """Radii by CROWN: false position on the margin, which falls with eps, and halving in turn."""
        with torch.no_grad():
            outputs = self.query.model(self.query.x).double()
        spec = self.query.spec.to(torch.float64)
        at_near = spec.worst(spec.evaluate(outputs)).tolist()
        far = {i: b.edge for i, b in self.brackets.items()}
        ask = dict(far)
        for step in range(_BOUNDINGS):
            places = [i for i, b in self.brackets.items() if b.lower < (1 - b.tolerance) * far[i]]
            if not places or time.monotonic() > self.end:
                return
            for i, margin in zip(places, self._margins(places, [ask[i] for i in places]), strict=True):
                share = 0.5
                if margin > 0:
                    at_near[i] = margin
                    self._proved(i, ask[i], margin, "CROWN")
                else:
                    far[i] = ask[i]
                    if step % 2 == 0 and math.isfinite(margin):
                        share = min(max(at_near[i] / (at_near[i] - margin), 0.05), 0.95)
                low = self.brackets[i].lower
                ask[i] = low + share * (far[i] - low)

    def _margins(self, places: Sequence[int], eps: Sequence[float]) -> list[float]:
        """Lower bounds of the margins at the level, -inf where there is none."""
        values = [-math.inf] * len(places)
        for group, region in self._regions(places, eps):
            spec = self._spec([places[k] for k in group])
            with torch.no_grad():
                bound = bounds.bound(
                    self.graph, region, spec, "crown", torch.float64, self.level, self.run.memory
                )
            for k, value in zip(group, spec.worst(bound.lower).tolist(), strict=True):
                values[k] = value if math.isfinite(value) else -math.inf
        return values

    def _decide(self, places: Sequence[int], seconds: float) -> None:
        """One round: each bracket is halved by a failure or a proof, or the time was too short."""
        eps = [self.brackets[i].next() for i in places]
        end = time.monotonic() + seconds
        groups = self._regions(places, eps)
        for number, (group, region) in enumerate(groups):
            here = [places[k] for k in group]
            self._approach(here, region)
            decided = bounds.verify(
                self.graph,
                region,
                self._spec(here),
                timeout=max(0.0, end - time.monotonic()) / (len(groups) - number),
                level=self.level,
                memory=self.run.memory,
            )
            for k, each in zip(group, decided, strict=True):
                self._note(places[k], eps[k], each)

    def _note(self, place: int, eps: float, decision: bounds.Decision) -> None:
        failed = decision.witness is not None and self._failed(place, decision.witness, _NAME)
        if decision.lower is not None and decision.lower > 0:
            self._proved(place, eps, decision.lower, "bounds.verify")
        elif not failed:
            self.brackets[place].in_vain.append(eps)

    def _approach(self, places: Sequence[int], region: bounds.InputSet) -> None:
        """Look for nearer failures from the nearest one known of each sample."""
        known = torch.stack([self.brackets[i].point for i in places])
        region = region.to(known.dtype)
        attack = FromStarts(steps=20, loss="margin")
        problem = Problem(
            self.query.model,
            region,
            self._spec(places).to(known.dtype),
            region.project(known),
            tuple(self.query.samples[i] for i in places),
            _NAME,
            self.run,
        )
        seen = attack.find(problem)
        for i, point, broken in zip(places, seen.points, seen.broken.tolist(), strict=True):
            if broken:
                self._failed(i, point, repr(attack))

    def _cross_check(self) -> None:
        """Every proof is attacked, too."""
        places = [i for i, b in self.brackets.items() if b.lower > 0]
        if not places:
            return
        for group, region in self._regions(places, [self.brackets[i].lower for i in places]):
            self._approach([places[k] for k in group], region)

    def _failed(self, place: int, point: Tensor, decider: str) -> bool:
        """Whether a point is a failure that the model confirms; ``Contradiction`` where none can be."""
        query, bracket = self.query, self.brackets[place]
        one = query[self._mask([place])]
        point = point.to(one.x)[None]
        valid = query.model.input_range
        if valid is not None and bool(((point < valid[0]) | (point > valid[1])).any()):
            return False
        [p_value] = query.model.p_values(point, one.y, one.samples, self.run, f"replay of {decider}")
        if p_value > 0 or not bool(answers(point).all()):
            return False
        away = float(distance(point.double() - one.x.double(), self.threat.norm))
        rounding = (point.numel() + 4) * 2.0**-52
        if bracket.proof is not None and away * (1 + rounding) <= bracket.lower:
            attack = Side(decider, query.model.digest, self.threat, int(one.y))
            raise found(
                query.model, one.samples[0], one.x[0], point[0], bracket.proof, attack, self.run
            ).error()
        if away * (1 + rounding) < bracket.upper:
            bracket.upper, bracket.point = away * (1 + rounding), point[0]
        return True

    def _proved(self, place: int, eps: float, margin: float, by: str) -> None:
        query, bracket = self.query, self.brackets[place]
        if eps > bracket.lower:
            threat, label = self.threat.at(eps), int(query.y[place])
            bracket.lower = eps
            bracket.proof = Side(by, query.model.digest, threat, label, margin, self.level)

    def _mask(self, places: Sequence[int]) -> Tensor:
        mask = torch.zeros(len(self.query.x), dtype=torch.bool, device=self.query.x.device)
        mask[list(places)] = True
        return mask

    def _spec(self, places: Sequence[int]) -> bounds.Spec:
        return self.query.spec[torch.tensor(places)]

    def _regions(
        self, places: Sequence[int], eps: Sequence[float]
    ) -> list[tuple[list[int], bounds.InputSet]]:
        """The balls in float64, each with whose of ``places`` they are: boxes together, others one by one."""
        x, valid = self.query.x.double(), self.query.model.input_range
        balls = [self.threat.at(e).around(x[i][None], valid) for i, e in zip(places, eps, strict=True)]
        if not all(ball.is_box for ball in balls):
            return [([k], ball) for k, ball in enumerate(balls)]
        boxes = [ball.box() for ball in balls]
        lower, upper = torch.cat([b.lower for b in boxes]), torch.cat([b.upper for b in boxes])
        return [(list(range(len(places))), bounds.Box(lower, upper))]
