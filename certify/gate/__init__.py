"""The gate: a policy of rules on confidence bounds, judged on a report."""

from certify.gate.judge import Judgement, judge
from certify.gate.policy import Policy, Waiver, read_policy
from certify.gate.profile import Profile
from certify.gate.ruling import Outcome, Ruling

__all__ = ["Judgement", "Outcome", "Policy", "Profile", "Ruling", "Waiver", "judge", "read_policy"]
