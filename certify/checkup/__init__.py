"""Whether attacks are to be believed: checks of what they look like on models that hide their gradients."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from certify.attacks import PGD, Square
from certify.checkup import flags, indicators, signs
from certify.checkup.base import Check, Trial
from certify.decide import check_deciders
from certify.diagnosis import UNRELIABLE, Finding, Health, Outcome
from certify.errors import UsageError
from certify.evidence import Claim, Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import Threat

__all__ = ["CHECKS", "UNRELIABLE", "Check", "Finding", "Health", "Outcome", "Trial", "health"]

CHECKS = (*flags.CHECKS, *indicators.CHECKS, *signs.CHECKS)
_DEFAULT_RUN = Run()
_BLACK_BOX = Square(queries=1000)


def health(
    model: Model,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    attacks: Sequence[Decider] = (PGD(),),
    run: Run = _DEFAULT_RUN,
    samples: Sequence[int] | None = None,
    black_box: Decider | None = _BLACK_BOX,
    surrogate: Model | None = None,
    checks: Sequence[Check] = CHECKS,
) -> Health:
    """Examine attacks on some samples; what the model gets wrong is left out.

    The flags of AutoAttack (Croce & Hein 2020), the indicators of attack failure (Pintor et al. 2022) and the
    signs of masked gradients (Athalye, Carlini & Wagner 2018; Carlini et al. 2019). A failed check says that
    accuracy under these attacks is an upper bound and no estimate. It costs some twenty times the attacks.

    samples: ids as in ``evaluate``. black_box: an attack without gradients to hold them against; its check is
    not run where it does not answer the threat. surrogate: a model of the same inputs and classes whose
    gradients may be better, for the check of transfer.
    Raises ``UsageError`` for bad inputs and for deciders that are no attacks or do not support the threat.
    """
    ids = tuple(range(len(x)) if samples is None else samples)
    query = Query(model, x.to(run.device), y.to(run.device), threat, ids)
    for each in (*attacks, *(() if black_box is None else (black_box,))):
        if each.claims != {Claim.FALSIFIED}:
            raise UsageError(f"{each!r} is no attack; ask certifiers by evaluate")
    if len(x) == 0 or not attacks:
        raise UsageError("there is nothing to examine; give at least one sample and one attack")
    right = model.predictions(query.x, query.y, ids, run)[1]
    if not right.any():
        nobody = tuple(each.not_run("no sample is classified right") for each in checks)
        return Health(model.digest, repr(threat), tuple(map(repr, attacks)), 0, nobody)
    blind = None if black_box is None or black_box.supports(query) is not None else black_box
    trial = Trial(query[right], tuple(attacks), run, blind, surrogate)
    if trial.gradients(trial.query.x)[1].any():  # where there are none, that is what the checks will say
        check_deciders(trial.query, attacks)
    total, findings = len(checks), []
    for done, check in enumerate(checks):
        run.progress("health of the attacks", done, total)
        findings.append(check.finding(trial))
    run.progress("health of the attacks", total, total)
    return Health(
        model.digest, repr(threat), tuple(map(repr, attacks)), len(trial.query.samples), tuple(findings)
    )
