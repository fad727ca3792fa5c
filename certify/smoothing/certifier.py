"""The certifier of smoothed classifiers: select a class, estimate its probability, conclude a radius."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from certify.binomial import check_alpha
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.smoothing.engine import Classifier, Engine, Procedure
from certify.smoothing.execution import Execution
from certify.smoothing.inputs import check_inputs
from certify.smoothing.intervals import IntArray
from certify.smoothing.laws import SCALED, NoiseLaw, covering
from certify.smoothing.modes import Ask, Estimate, Fixed, Mode, Trace, traced
from certify.smoothing.modes.base import SELECTION
from certify.smoothing.modes.fixed import check_draws
from certify.smoothing.result import ABSTAIN, SmoothingResult
from certify.smoothing.smoothed import Smoothed
from certify.smoothing.votes import InMemory, Votes

_DEFAULT_RUN = Run()
_PLAIN = Execution()
_Found = tuple[IntArray, Estimate, Trace]


@dataclass(frozen=True)
class Smoothing:
    """Randomized smoothing: select a class, bound its probability by further draws, conclude a radius.

    sigma: scale of the noise in input units. n0: draws that select a class. mode: how many further,
    independent draws bound its probability and how; by default a fixed number ``n`` (Cohen, Rosenfeld &
    Kolter 2019, algorithm CERTIFY). alpha: the probability, per sample, that the statement is wrong. law: a
    name in ``SCALED``, or a law with its parameters (such as ``Ablation``), which leaves ``sigma`` out.
    exact: for 8-bit inputs, normal noise whose draws and radius are free of floating-point error
    (``DiscreteGaussian``). execution: how the network is run. batch_size: rows per forward pass; it changes
    no result and is no part of the identity.

    As a decider it answers queries about ``Smoothed`` models only: its radius is a fact about the smoothed
    classifier, not about the network inside. Evidence has a margin, certified radius - eps, where the
    certified label is the true one; robust means margin > 0, for the theorem holds strictly inside the
    radius. A threat of another norm counts as the ball that covers it. ``level`` is None: the claim is
    statistical, and float rounding of the network is part of the classifier that is smoothed.
    Raises ``UsageError`` for a value outside its domain, and for ``n`` beside another mode.
    """

    sigma: float | None = None
    n0: int = 100
    n: int | None = None
    alpha: float = 1e-3
    batch_size: int = field(default=1000, repr=False, compare=False)
    law: str | NoiseLaw = "gaussian"
    mode: Mode | None = None
    exact: bool = False
    execution: Execution = _PLAIN

    def __post_init__(self) -> None:
        for name, value in (("n0", self.n0), ("batch_size", self.batch_size)):
            check_draws(name, value)
        if self.n is not None:
            check_draws("n", self.n)
            if self.mode is not None:
                raise UsageError(f"{self.mode!r} decides the number of draws itself; leave n out")
        check_alpha(self.alpha)
        if self.exact and self.law != "gaussian":
            raise UsageError(f"exact sampling is offered for the law 'gaussian', not for {self.law!r}")
        _law(self.law, self.sigma)
        if self.sigma is not None:
            object.__setattr__(self, "sigma", float(self.sigma))

    @property
    def estimation(self) -> Mode:
        """The mode, where none is given ``Fixed``."""
        return Fixed(100_000 if self.n is None else self.n) if self.mode is None else self.mode

    @property
    def noise(self) -> NoiseLaw:
        """The law of noise, at this scale if it is a name."""
        return _law("discrete-gaussian" if self.exact else self.law, self.sigma)

    def smoothed(self, model: Model) -> Smoothed:
        """The model that this certifier speaks about when it is given ``model``."""
        return Smoothed(model, self.noise)

    def certify(
        self,
        model: Model | Classifier,
        x: Tensor,
        run: Run = _DEFAULT_RUN,
        samples: Sequence[int] | None = None,
        votes: Votes | None = None,
    ) -> SmoothingResult:
        """Certify the smoothed version of ``model`` at each input.

        model: the base model, its ``Smoothed`` version, or any callable from (rows, *input_shape) to logits.
        x: (batch, *input_shape), float32 or float64, in input units. samples: ids of the inputs in their data
        set (default 0, 1, ...), unique; they key the noise. votes: a memory of draws of the same model, law
        and seed, which are not made again; new ones are put there. It is refused if it is of another use.
        Raises ``UsageError`` for bad inputs, a model that is not deterministic or depends on the rest of its
        batch, NaN logits, and a ``Smoothed`` model of another law.
        """
        ids = tuple(range(len(x)) if samples is None else samples)
        check_inputs(model, x, ids)
        self.noise.check(x)
        memory = InMemory() if votes is None else votes
        base = self._base(model)
        memory.claim(self._use(base, x, run), dict(zip(ids, map(_digest, x), strict=True)))
        forward = self.execution.of(base, run.device)
        engine = Engine(forward, self.noise, self.batch_size, run, memory, self.execution.compile)
        x = x.to(run.device)
        classes = engine.probe(x[0], ids[0])
        if isinstance(model, Model) and model.num_classes != classes:
            raise UsageError(f"{model.name} returns {classes} logits, not {model.num_classes}")
        if x.device.type != "cpu":  # a CPU has room, and no time for a batch more
            engine = engine.fitting(x[0])
        found = engine.outcomes(x, ids, classes, [self._procedure() for _ in ids])
        return self._concluded(found, run)

    def _use(self, model: Model | Classifier, x: Tensor, run: Run) -> str:
        """All that decides votes, besides the inputs and a classifier without a digest."""
        mode = self.estimation.name if self.estimation.continuable else repr(self.estimation)
        parts = [mode, f"n0={self.n0}", repr(self.noise), f"seed={run.seed}"]
        parts += [torch.device(run.device).type, str(x.dtype), repr(self.execution)]
        return ", ".join([*parts, model.digest] if isinstance(model, Model) else parts)

    def _procedure(self) -> Procedure[_Found]:
        """One sample: votes that select a class, and the estimate for it by other draws."""
        selection = yield Ask(SELECTION, self.n0)
        selected = int(selection.argmax())
        estimation = self.estimation.estimate(self.noise, self.alpha, selected)
        return (selection, *(yield from traced(estimation, selected)))

    def _base(self, model: Model | Classifier) -> Classifier:
        """The classifier that gets the noise."""
        if not isinstance(model, Smoothed):
            return model
        if model.law != self.noise:
            raise UsageError(_other_law(model, self.noise))
        return model.base

    def _concluded(self, found: list[_Found], run: Run) -> SmoothingResult:
        estimates = [estimate for _, estimate, _ in found]
        selection = torch.tensor(np.stack([votes for votes, _, _ in found]))
        radius = torch.tensor([e.radius for e in estimates], dtype=torch.float64)
        selected = selection.argmax(1)
        return SmoothingResult(
            label=torch.where(radius > 0, selected, ABSTAIN),
            radius=radius,
            selected=selected,
            p_lower=torch.tensor([e.p_lower for e in estimates], dtype=torch.float64),
            p_other=torch.tensor([e.p_other for e in estimates], dtype=torch.float64),
            hits=torch.tensor([e.hits for e in estimates]),
            n=torch.tensor([e.n for e in estimates]),
            selection=selection,
            votes=tuple(trace for _, _, trace in found),
            n0=self.n0,
            alpha=self.alpha,
            mode=repr(self.estimation),
            law=repr(self.noise),
            execution=repr(self.execution),
            seed=run.seed,
            device=run.device,
        )

    @property
    def claims(self) -> frozenset[Claim]:
        """It can find robustness; an abstention or a wrong label is no counterexample."""
        return frozenset({Claim.ROBUST})

    def supports(self, query: Query) -> str | None:
        """None for a model smoothed by this law and a threat that its balls cover, else the reason."""
        model = query.model
        if not isinstance(model, Smoothed):
            return (
                f"{model.name} is not smoothed, and a smoothed classifier is another model; "
                f"ask about Smoothed(model, {self.noise!r})"
            )
        if model.law != self.noise:
            return _other_law(model, self.noise)
        if covering(self.noise.norm, query.threat, model.input_shape) is None:
            return (
                f"{self.noise!r} certifies balls of norm {self.noise.norm:g}, not {query.threat!r}; "
                f"choose another threat or law of noise"
            )
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """One piece of evidence per sample, at confidence 1 - alpha each."""
        reason = self.supports(query)
        eps = covering(self.noise.norm, query.threat, query.model.input_shape)
        if reason is not None or eps is None:
            raise UsageError(reason or "unsupported query")
        if not query.samples:
            return []
        result = self.certify(query.model, query.x, run, query.samples)
        right = result.label == query.y.cpu()
        return [
            Evidence(
                sample=sample,
                decider=repr(self),
                margin=float(result.radius[i]) - eps if right[i] else None,
                alpha=self.alpha,
                detail=self._detail(result, i),
            )
            for i, sample in enumerate(query.samples)
        ]

    def _detail(self, result: SmoothingResult, i: int) -> dict[str, int | float | str]:
        """All that is needed to recompute sample ``i``'s radius, and to draw its noise again."""
        return {
            "label": int(result.label[i]),
            "radius": float(result.radius[i]),
            "selected": int(result.selected[i]),
            "count": int(result.hits[i]),
            "n": int(result.n[i]),
            "mode": result.mode,
            "count0": int(result.selection[i, result.selected[i]]),
            "n0": result.n0,
            "p_lower": float(result.p_lower[i]),
            "p_other": float(result.p_other[i]),
            "alpha": result.alpha,
            **({} if self.sigma is None else {"sigma": self.sigma}),
            "law": result.law,
            "execution": result.execution,
            "domain": self.noise.domain,
            "seed": result.seed,
            "device": result.device,
        }


def _digest(x: Tensor) -> str:
    """SHA-256 of one input, in hex."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _law(law: str | NoiseLaw, sigma: float | None) -> NoiseLaw:
    """The law that is meant; refuses an unknown name, a name without a scale, and a scale given twice."""
    if not isinstance(law, str):
        if sigma is not None:
            raise UsageError(f"{law!r} has its parameters already; leave sigma out")
        return law
    if law not in SCALED:
        raise UsageError(
            f"unknown law of noise {law!r}; choose one of {', '.join(sorted(SCALED))}, "
            "or give a law with its parameters, such as Ablation(...)"
        )
    if sigma is None:
        raise UsageError(f"sigma is missing; give the scale of the {law} noise in input units")
    return SCALED[law](sigma)


def _other_law(model: Smoothed, law: NoiseLaw) -> str:
    return f"{model.name} is smoothed by {model.law!r}, not by {law!r}; use the same law and scale"
