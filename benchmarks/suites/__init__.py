"""Suites: what is measured. A suite gives rows, one by one, since a run may be long and be cut short."""

from collections.abc import Mapping

from benchmarks.options import Suite
from benchmarks.suites import (
    accuracy,
    attacks,
    audit,
    bounds,
    coverage,
    curve,
    deceptive,
    forward,
    nearest,
    operators,
    planted,
    proof,
    random_nets,
    scaling,
    smoothing_engine,
    smoothing_noise,
    smoothing_samples,
    verify,
)

SUITES: Mapping[str, Suite] = {
    "accuracy": accuracy.SUITE,
    "audit": audit.SUITE,
    "attacks": attacks.SUITE,
    "bounds": bounds.SUITE,
    "coverage": coverage.SUITE,
    "curve": curve.SUITE,
    "deceptive": deceptive.SUITE,
    "forward": forward.SUITE,
    "nearest": nearest.SUITE,
    "operators": operators.SUITE,
    "planted": planted.SUITE,
    "proof": proof.SUITE,
    "random-nets": random_nets.SUITE,
    "scaling": scaling.SUITE,
    "smoothing-engine": smoothing_engine.SUITE,
    "smoothing-noise": smoothing_noise.SUITE,
    "smoothing-samples": smoothing_samples.SUITE,
    "verify": verify.SUITE,
}
