"""Complete verification: branch and bound over domains until every one of them is decided."""

from bounds.search.result import Decision, Gap, Status
from bounds.search.verify import verify

__all__ = ["Decision", "Gap", "Status", "verify"]
