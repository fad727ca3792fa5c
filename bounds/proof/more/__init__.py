"""Operators beyond those of ordinary networks. The checker refuses them where this folder is not."""

from bounds.proof.more.operators import MORE

__all__ = ["MORE"]
