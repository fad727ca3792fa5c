"""Method cards: what kind of method an answer comes from, on the four axes of ISO/IEC 24029-2.

A method is known here by its print, which holds its class and all parameters: evidence names it in no other
way, whether it comes from a run folder or from memory.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from typing import Literal

from certify import attacks, deterministic, smoothing
from certify.reporting.schema import Detail, Method, SampleVerdict
from certify.verdict import attack_sentence

Kind = Literal["certifier", "attack", "certifier and attack", "smoothing"]

# Methods that draw no random numbers; whatever is not known to be one of them counts as one that does.
_DETERMINISTIC = frozenset(
    {"IBP", "CROWN", "FGSM", "RayS", "DDN", "FMN", "DeepFool", "SuperDeepFool", "Universal"}
)
# Methods that prove or refute every question, given time; a bound or a search that may fail is incomplete.
_COMPLETE: frozenset[str] = frozenset()
_SENTENCES: dict[Kind, str] = {
    "certifier": "A margin > 0 is a proof at its level of arithmetic; any other answer says nothing.",
    "certifier and attack": (
        "A margin > 0 is a proof at its level of arithmetic, a replayed point a counterexample; where there "
        "is neither, nothing is said."
    ),
    "smoothing": "A radius speaks of the smoothed classifier, and holds with probability 1 - alpha.",
}
# A citation in a docstring: names and a year, perhaps a place in the paper.
_CITATION = re.compile(r"\(([A-Z][^()]*\b(?:19|20)\d\d[^()]*)\)")


def card(name: str, kind: Kind, samples: Sequence[SampleVerdict] = ()) -> Method:
    """The card of the method that shows itself as ``name``; samples: where it may have been tried."""
    title = name.partition("(")[0]
    findings = [f for row in samples for f in row.findings if f.method == name]
    proves = kind in ("certifier", "certifier and attack")
    looks_inside = proves or any(f.backwards for f in findings)
    claims = {f.level.value for f in findings if f.level is not None}
    over_reals = proves and claims <= {"real", "float"} and "real" in claims
    return Method(
        name=name,
        kind=kind,
        parameters=parameters(name),
        completeness="complete" if title in _COMPLETE else "incomplete",
        determinism="deterministic" if title in _DETERMINISTIC else "non-deterministic",
        access="glass box" if looks_inside else "closed box",
        arithmetic="real" if over_reals else "computer",
        reference=_reference(title),
        sentence=_SENTENCES.get(kind, f"Where it fails: {attack_sentence(title)}, which proves nothing."),
    )


def parameters(name: str) -> Detail:
    """The parameters in a method's print: literal ones as they are, all others as text."""
    try:
        call = ast.parse(name, mode="eval").body
    except SyntaxError:
        return {}
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return {each.arg: _literal(each.value) for each in keywords if each.arg is not None}


def _literal(node: ast.expr) -> bool | int | float | str | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
    return value if isinstance(value, bool | int | float | str | None) else ast.unparse(node)


def _reference(title: str) -> str | None:
    """The first paper that the method's own documentation cites."""
    for package in (attacks, deterministic, smoothing):
        documentation = inspect.getdoc(getattr(package, title, None)) if title in package.__all__ else None
        found = _CITATION.search(" ".join((documentation or "").split()))
        if found:
            return found[1]
    return None
