"""The sentences of a report: what its words claim, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bounds.rounding import Level
from certify.reporting.schema import Report, SampleVerdict, Word
from certify.verdict import SENTENCES, Verdict, attack_sentence

UNFINISHED = "This run is not finished: the numbers are those of the samples that are."


def doubts(report: Report) -> list[str]:
    """What puts all numbers of a report in doubt."""
    count = len(report.contradictions)
    who = "1 sample was" if count == 1 else f"{count} samples were"
    invalid = (
        f"INVALID: {who} both proved robust and attacked, and counted as errors: until this is resolved, no "
        "other number here is to be relied upon."
    )
    return [
        *([invalid] if count else []),
        *([] if report.complete else [UNFINISHED]),
        *(each.summary for each in report.health if not each.reliable),
    ]


def claimed(levels: Sequence[Level], attacks: Sequence[str]) -> tuple[Word, ...]:
    """Each word of the tables and the sentence that it stands for."""
    names = " and ".join(attacks) or "any attack (none was run)"
    verified = {f"verified ({level.value})": _sentence(SENTENCES[level]) for level in levels}
    words = {
        "misclassified": "The answer is wrong, or tied, without any attack.",
        "falsified": (
            "A counterexample within the threat was found and replayed on the original model: it lies in the "
            "region without tolerance and changes the answer."
        ),
        **verified,
        "unknown": f"Neither proved nor attacked: {attack_sentence(names)}.",
        "error": "Not evaluated, or both proved and attacked.",
    }
    return tuple(Word(word=word, sentence=sentence) for word, sentence in words.items())


def not_claimed(norm: str, levels: Sequence[Level], smoothed: bool) -> tuple[str, ...]:
    """What a reader might take from the numbers and must not."""
    limits = [
        f"Nothing is said about threats other than {norm} threats of the listed eps around these samples.",
        "Unknown is not robust, and surviving an attack is not a proof.",
        "Steps before the model, such as decoding or resizing of files, are not part of any statement.",
        "The intervals assume samples drawn independently from the population that they speak of.",
        "Poisoning, extraction of the model, privacy, and inputs outside the valid range are not examined.",
        "Evidence for a clause of a standard or a law is not compliance with it.",
    ]
    if Level.FLOAT in levels:
        limits.append("Samples verified at level float are not proved: rounding was not accounted for.")
    if Level.REAL in levels:
        limits.append(
            "Level real is about exact arithmetic; what the rounding of a float execution may change is not "
            "covered."
        )
    if smoothed:
        limits.append("Nothing that is said of the smoothed classifier holds of the network itself.")
    return tuple(limits)


def verified_levels(samples: Sequence[SampleVerdict]) -> list[Level]:
    """The levels at which samples were verified, weakest first."""
    found = {row.level for row in samples if row.verdict is Verdict.VERIFIED}
    return [level for level in Level if level in found]


def perturbation(name: str, norm: float | None, unit: str, input_range: tuple[float, float] | None) -> str:
    """The set that the adversary may reach, in one sentence."""
    within = "any input" if input_range is None else f"inputs in [{input_range[0]:g}, {input_range[1]:g}]"
    if norm is None:
        return f"The inputs that a {name} change of size at most eps ({unit}) reaches, within {within}."
    order = "inf" if math.isinf(norm) else f"{norm:g}"
    return f"The inputs whose L{order} distance from the sample is at most eps ({unit}), within {within}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
