"""A judgement as JUnit XML, which continuous integration shows as tests: one for each rule."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from certify.errors import Exit
from certify.gate import Judgement, Outcome, Ruling

_UNJUDGED = {
    Exit.SOUNDNESS_VIOLATION: "a sample was both proved and attacked; no rule was judged",
    Exit.NOTHING_EVALUATED: "nothing was evaluated; no rule was judged",
}


def junit(judgement: Judgement) -> bytes:
    """The XML text. Failed rules are failures, inconclusive ones errors, waived ones skipped."""
    rulings = judgement.rulings or (_unjudged(judgement),)
    counts = {outcome: sum(r.outcome is outcome for r in rulings) for outcome in Outcome}
    suite = ET.Element(
        "testsuite",
        name=f"certify gate: {judgement.policy.name}",
        tests=str(len(rulings)),
        failures=str(counts[Outcome.FAILED]),
        errors=str(counts[Outcome.INCONCLUSIVE]),
        skipped=str(counts[Outcome.WAIVED]),
    )
    for ruling in rulings:
        _case(suite, ruling)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ET.Element, ruling: Ruling) -> None:
    case = ET.SubElement(suite, "testcase", classname="certify.gate", name=ruling.rule)
    sentence = "".join(c for c in ruling.sentence if c.isprintable())
    tags = {Outcome.FAILED: "failure", Outcome.INCONCLUSIVE: "error", Outcome.WAIVED: "skipped"}
    if ruling.outcome in tags:
        ET.SubElement(case, tags[ruling.outcome], message=sentence)
    else:
        ET.SubElement(case, "system-out").text = sentence


def _unjudged(judgement: Judgement) -> Ruling:
    return Ruling("judged", Outcome.FAILED, _UNJUDGED.get(judgement.exit, "no rule was judged"))
