"""The pytest plugin: a fixture ``assert_certified`` for robustness as a test.

Loaded by pytest wherever the package is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from certify.evidence import Decider
    from certify.model import Model
    from certify.result import Result
    from certify.run import Run
    from certify.threat import Threat

_SHOWN = 10


class AssertCertified:
    """What the fixture ``assert_certified`` gives; see there."""

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        *,
        at_least: float,
        confidence: float | None = None,
        deciders: Sequence[Decider] = (),
        run: Run | None = None,
    ) -> Result:
        """See the fixture."""
        # imported here: pytest loads this module in every project that has the package
        from bounds.rounding import Level
        from certify.attacks import PGD
        from certify.decide import evaluate
        from certify.deterministic import CROWN
        from certify.errors import UsageError
        from certify.gate.ruling import verified_share
        from certify.run import Run
        from certify.verdict import Verdict

        if not 0 < at_least <= 1:
            raise UsageError(f"at_least is {at_least}; give a share above 0 and at most 1")
        result = evaluate(model, x, y, threat, deciders or [PGD(), CROWN()], run=run or Run())
        proved = [s for s in result.samples if s.verdict is Verdict.VERIFIED and s.level is not Level.FLOAT]
        count, n = len(proved), len(result.samples)
        alpha = max((s.alpha for s in proved), default=0.0)
        share = count / n if confidence is None else verified_share(count, n, 1 - confidence, alpha)
        if share < at_least:
            ids = {s.sample for s in proved}
            others = [f"{s.sample} ({s.verdict.value})" for s in result.samples if s.sample not in ids]
            more = ", ..." if len(others) > _SHOWN else ""
            bound = "" if confidence is None else f", at least {share:.4f} at confidence {confidence:g}"
            pytest.fail(
                f"{count} of {n} samples are verified under {threat!r}{bound}; required is {at_least:g}. "
                f"Not verified: {', '.join(others[:_SHOWN])}{more}"
            )
        return result


@pytest.fixture
def assert_certified() -> AssertCertified:
    """Fails the test unless a share ``at_least`` of the samples is verified under a threat.

    deciders: by default PGD and CROWN. confidence: None for these very samples; else, the lower bound of the
    population's share (Clopper & Pearson 1934, one-sided) must reach ``at_least``. Bounds that are no proof
    (level float) do not count. Returns the result; a contradiction raises ``certify.Contradiction``.
    """
    return AssertCertified()
