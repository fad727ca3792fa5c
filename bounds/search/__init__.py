"""Complete verification: branch and bound over domains until every one of them is decided."""

from bounds.search.result import Decision, Status
from bounds.search.verify import verify

__all__ = ["Decision", "Status", "verify"]
