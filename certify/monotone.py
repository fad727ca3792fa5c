"""What a verdict at one eps says about another: the balls of one norm around one sample are nested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from certify import contradiction
from certify.contradiction import Reproducer, Side
from certify.query import Query
from certify.rows import VerdictRow
from certify.run import Run
from certify.verdict import Verdict


def bisection(budgets: Sequence[float]) -> list[float]:
    """The middle first, then the middles of both halves, and so on: each answer spares many questions."""
    if not budgets:
        return []
    middle = len(budgets) // 2
    return [budgets[middle], *bisection(budgets[:middle]), *bisection(budgets[middle + 1 :])]


def is_asked(row: VerdictRow) -> bool:
    """Whether a row is what the deciders answered, rather than what follows from another one."""
    return "from_eps" not in (row.detail or {})


def implied(
    query: Query, eps: float, rows: Sequence[VerdictRow], *, between: bool = False
) -> dict[int, VerdictRow]:
    """Verdicts for the query, whose threat has budget ``eps``, that follow from rows at other budgets.

    rows: of the same model, data and norm. A misclassified sample stays one. Verified for a larger eps is
    verified for this one, with the same margin. A counterexample is one here, too, if it lies in this
    region, which is checked anew, without tolerance. between: a sample that is open at a smaller and at a
    larger eps counts as open here; nothing is claimed of it, so it is enough to look for the two ends of what
    is open.
    """
    places = {sample: place for place, sample in enumerate(query.samples)}
    found: dict[int, VerdictRow] = {}
    for row in sorted(rows, key=lambda each: abs(each.eps - eps)):
        place = places.get(row.sample)
        if place is not None and row.sample not in found and _holds(query, eps, row, place):
            found[row.sample] = _carried(row, eps)
    if between:
        found |= {
            row.sample: _carried(row, eps) for row in _open_around(eps, rows) if row.sample not in found
        }
    return {sample: row for sample, row in found.items() if sample in places}


def _open_around(eps: float, rows: Sequence[VerdictRow]) -> list[VerdictRow]:
    """Of samples that are unknown at a smaller and at a larger eps the row at the nearest larger one.

    Whose margin is a lower bound here, too.
    """
    unknown = [row for row in rows if row.verdict is Verdict.UNKNOWN]
    below = {row.sample for row in unknown if row.eps <= eps}
    above = sorted((row for row in unknown if row.eps >= eps), key=lambda row: -row.eps)
    return [row for row in {row.sample: row for row in above}.values() if row.sample in below]


def check(query: Query, rows: Sequence[VerdictRow], run: Run) -> list[Reproducer]:
    """Compare the rows of the query's samples at all budgets with each other.

    Returns one contradiction for each sample with a counterexample that lies in a region that was verified.
    """
    places = {sample: place for place, sample in enumerate(query.samples)}
    verified: dict[int, VerdictRow] = {}
    for row in sorted(rows, key=lambda each: each.eps):
        if row.verdict is Verdict.VERIFIED:
            verified[row.sample] = row
    found: dict[int, Reproducer] = {}
    for row in rows:
        proof = verified.get(row.sample)
        if row.verdict is Verdict.FALSIFIED and proof is not None and row.sample in places:
            wider = replace(query, threat=query.threat.at(proof.eps))
            if _contains(wider, row, places[row.sample]):
                found.setdefault(row.sample, _contradiction(wider, places[row.sample], proof, row, run))
    return list(found.values())


def _holds(query: Query, eps: float, row: VerdictRow, place: int) -> bool:
    if row.verdict is Verdict.FALSIFIED:
        return _contains(query, row, place)
    return row.verdict is Verdict.MISCLASSIFIED or (row.verdict is Verdict.VERIFIED and row.eps >= eps)


def _contains(query: Query, row: VerdictRow, place: int) -> bool:
    """Whether the row's counterexample lies in the region of the query."""
    if row.witness is None:
        return False
    witness = torch.from_numpy(row.witness.copy())[None].to(query.x.device)
    return bool(query.region[torch.tensor([place])].contains(witness))


def _contradiction(query: Query, place: int, proof: VerdictRow, attack: VerdictRow, run: Run) -> Reproducer:
    sides = [
        Side(
            f"{row.by} at eps = {row.eps:g}",
            query.model.digest,
            query.threat.at(row.eps),
            int(query.y[place]),
            row.margin,
            row.level,
            row.alpha,
        )
        for row in (proof, attack)
    ]
    witness = torch.tensor(attack.witness)
    return contradiction.found(
        query.model, proof.sample, query.x[place], witness, proof=sides[0], attack=sides[1], run=run
    )


def _carried(row: VerdictRow, eps: float) -> VerdictRow:
    """The row at another eps, marked with where it comes from."""
    if row.eps == eps:
        return row
    return replace(row, eps=eps, detail={"from_eps": row.eps, **(row.detail or {})}, seconds=())
