"""What can go wrong on the way to a bound: every error names the thing and the remedy."""

from __future__ import annotations


class BoundsError(ValueError):
    """Base of all errors that bad input to this package can cause."""


class InvalidInput(BoundsError):
    """A tensor, region or specification has the wrong shape, holds NaN or Inf, or contradicts itself."""


class InvalidGraph(BoundsError):
    """A graph is not well formed: a dangling input, a shape that does not follow, a batch axis that moves."""


class InvalidFile(BoundsError):
    """A file cannot be read as what it claims to be."""


class EmptyProperty(InvalidFile):
    """A property whose constraints no input satisfies, so that it holds of every network."""


class Unsupported(BoundsError):
    """An operator or one of its attributes is outside what the engine can bound.

    The message names the operator, the node and the file, and what to do about it.
    """
