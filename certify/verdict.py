"""What may be said of one sample, and the sentences that say it."""

from __future__ import annotations

from enum import Enum

from bounds.rounding import Level


class Verdict(Enum):
    """The five outcomes; over a data set their counts sum to n."""

    MISCLASSIFIED = "misclassified"  # wrong (or tied) without any attack
    FALSIFIED = "falsified"  # a replayed counterexample exists
    VERIFIED = "verified"  # proved robust at the stated level
    UNKNOWN = "unknown"  # neither proved nor attacked
    ERROR = "error"  # not evaluated


SENTENCES: dict[Level, str] = {
    Level.FLOAT: "bounds computed in floating point without an account of rounding; not a proof.",
    Level.REAL: (
        "For every real x in the region, the network defined by these exact weights in exact arithmetic "
        "satisfies the property."
    ),
    Level.DEPLOYED: (
        "For every float32 x in the region, every execution that computes each affine layer as float32 dot "
        "products in any order (FMA allowed; no TF32, Winograd, FFT or flush-to-zero) satisfies the property."
    ),
}


def attack_sentence(attacks: str) -> str:
    """What an attack that found nothing allows one to say; never "robust"."""
    return f"no counterexample found by {attacks}"


def statistical_sentence(alpha: float, joint: bool) -> str:
    """What a sampled certificate allows one to say."""
    scope = "jointly over all samples" if joint else "separately for each sample"
    return f"with probability at least 1 - {alpha:g} over the sampling, {scope}"
