"""Queries as VNN-LIB 1.0 properties, and answers as result files of the verification competition.

Only boxes can be written: threats whose region is bounded input by input. Bounds are exact decimals of the
bounds in real arithmetic, so the file asks about just the region that was asked about here.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal, Inexact

import torch
from torch import Tensor

from bounds.vnnlib import format_counterexample
from certify.errors import UsageError
from certify.model import Model, answers
from certify.threat import L0, L1, L2, Linf, Patch, Pixels, Threat

# A float64 has at most 1,075 digits behind the point and 309 before it; their sums fit as well.
_EXACT = Context(prec=2000, traps=[Inexact])


def not_expressible(threat: Threat) -> str | None:
    """Why VNN-LIB 1.0 cannot state the region of a threat, in one line; None for boxes, which it can."""
    if isinstance(threat, Linf):
        return None
    reasons: dict[type[Threat], str] = {
        L2: "an L2 ball is bounded by no finite number of linear conditions",
        L1: "an L1 ball of d inputs takes 2^d linear conditions, or variables that the format does not have",
        L0: "a choice of inputs is a choice among boxes, of which there are too many to write down",
        Pixels: "a choice of pixels is a choice among boxes, of which there are too many to write down",
        Patch: "a patch anywhere is a choice among boxes that each bind every input",
    }
    reason = reasons.get(type(threat), "its region is bounded by more than each input by itself")
    return f'{threat!r} cannot be written in VNN-LIB 1.0: {reason}; export a run with norm = "linf"'


def query_text(model: Model, x: Tensor, y: int, threat: Threat) -> str:
    """The property that the answer is y, strictly, in the region of one sample x, of the model's input shape.

    As VNN-LIB has it, the file asserts what must not be: an input of the region with another class at least
    as large. Raises ``UsageError`` for a threat whose region is no box.
    """
    reason = not_expressible(threat)
    if reason is not None or not isinstance(threat, Linf):
        raise UsageError(reason or "unsupported threat")
    lines = [f"; {model.name}: is the class {y} within {threat!r}?"]
    limits = list(_limits(x, threat.eps, model.input_range))
    lines += [f"(declare-const X_{i} Real)" for i in range(len(limits))]
    lines += [f"(declare-const Y_{j} Real)" for j in range(model.num_classes)]
    for i, (low, high) in enumerate(limits):
        lines += [f"(assert (>= X_{i} {_decimal(low)}))", f"(assert (<= X_{i} {_decimal(high)}))"]
    rivals = [f"    (and (>= Y_{j} Y_{y}))" for j in range(model.num_classes) if j != y]
    return "\n".join([*lines, "(assert (or", *rivals, "))", ""])


def result_text(model: Model, witness: Tensor | None, verified: bool) -> str:
    """A result file: ``sat`` with the counterexample, ``unsat``, or ``unknown``.

    witness: of the model's input shape; the outputs beside it are the model's own.
    """
    if witness is None:
        return "unsat\n" if verified else "unknown\n"
    with torch.no_grad():
        outputs = model(witness[None])
    if not answers(outputs).all():
        return "unknown\n"  # NaN breaks no property
    return f"sat\n{format_counterexample(witness, outputs)}\n"


def _limits(x: Tensor, eps: float, valid: tuple[float, float] | None) -> Iterator[tuple[Decimal, Decimal]]:
    """Exact bounds of every input, within the valid range."""
    budget = Decimal(eps)
    for value in map(Decimal, x.flatten().double().tolist()):
        low, high = _EXACT.subtract(value, budget), _EXACT.add(value, budget)
        if valid is not None:
            low, high = max(low, Decimal(valid[0])), min(high, Decimal(valid[1]))
        yield low, high


def _decimal(value: Decimal) -> str:
    """Digits without an exponent; negative numbers as every reader takes them."""
    text = f"{value:f}"
    return text if "." in text else f"{text}.0"
