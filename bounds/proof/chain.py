"""Bounds of a network on many pieces of a box at once: intervals forward, rows backward (CROWN).

Rules of the error account, for every number whose magnitude on the piece is at most X:

- An affine step with v = |W| X + |b|: a row lam sent backward is off by at most gamma(n + 12) |lam| . v, and
  a float32 execution of the step by the radius gamma32(n) v + n 2^-149, of which a row feels |lam| . radius.
- A function: lines with any slope s and the constant c <= f(z) - s z, found with care by the function; a row
  through them is off by at most gamma(n + 8) |lam| . (|s| X + |c|). A product: planes with any slopes, alike.
- A multiplier mu >= 0 of a split side (z - at) >= 0 adds -mu side to the row at z, and mu side at to its
  constant.

All this together is the cushion of a step: per element, what a coefficient of one may be off by.
NaN and Inf on the way end in a bound that is not > 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.functions import Function
from bounds.proof.network import Network, Step
from bounds.proof.steps import Affine, Convolution, Pick, Scale

_U32, _LEAST32 = 2.0**-24, 2.0**-149
# From here on a float32 execution may overflow on its way: it may sum many numbers before their mean.
_MOST32 = 2.0**96
_MEMORY = 2**22  # bytes of a batch of rows: what stays in a cache


def parts(count: int, most: int) -> list[slice]:
    """So many things in parts of at most so many."""
    return [slice(first, min(first + most, count)) for first in range(0, count, most)]


@dataclass(frozen=True, eq=False)
class Fact:
    """What is known of a value on each piece, (pieces or 1, elements).

    cushion: of the affine step that makes it. lines: around the function that does, see ``Chain``.
    """

    low: Array
    high: Array
    cushion: Any = None
    lines: Any = None

    @cached_property
    def size(self) -> Array:
        """At least the magnitude of its elements."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @cached_property
    def largest(self) -> Array:
        """That of all elements, (pieces or 1,)."""
        return np.asarray(self.size.max(1))


@dataclass(eq=False)
class Facts:
    """What is known of each value. empty: (pieces,) where the splits leave nothing."""

    values: list[Fact]
    empty: Array


After = Callable[[Facts], None]


@dataclass(frozen=True, eq=False)
class Cuts:
    """Splits on the ways to some pieces: (steps,) arrays; value: the index of the value that is split.

    multipliers: (steps, rows of each piece).
    """

    piece: Array
    value: Array
    element: Array
    side: Array
    at: Array
    multipliers: Array


class Account:
    """What rows have come to so far: their constants, and how far these may be off.

    piece, constant: of each row, (rows,). cuts: with multipliers for the rows of a piece, which then follow
    each other. codes: of slopes, (rows, elements of all functions).
    """

    def __init__(
        self, a: Floats, piece: Array, constant: Any = 0, cuts: Cuts | None = None, codes: Array | None = None
    ) -> None:
        self._a, self._piece, self.cuts, self.codes = a, piece, cuts, codes
        self._constant, self._off = self.zeros() + constant, self.zeros()
        self._same = bool((piece == np.arange(len(piece))).all())

    def zeros(self, *elements: int) -> Array:
        """Zeros for every row."""
        return self._a.zeros(len(self._piece), *elements)

    def of(self, x: Array) -> Array:
        """What belongs to the rows, of numbers (pieces or 1, elements)."""
        return x if len(x) == 1 or (self._same and len(x) == len(self._piece)) else x[self._piece]

    def dot(self, lam: Array, x: Array) -> Array:
        """Of each row the sum of its products with numbers (pieces or 1, elements)."""
        return _dot(lam, self.of(x))

    def add(self, x: Array) -> None:
        """Add to the constants, which are rounded down."""
        self._constant = self._a.down(self._constant + x)

    def less(self, lam: Array, cushion: Array) -> None:
        """Take off what rows feel of a cushion."""
        self.less_rows(self.dot(np.abs(lam), cushion))

    def less_rows(self, x: Array) -> None:
        """Take off a number from each row."""
        self._off = self._a.up(self._off + x)

    def lower(self) -> Array:
        """Lower bounds."""
        return self._a.down(self._constant - self._off)


@dataclass(frozen=True, eq=False)
class Chain:
    """A network, the numbers to compute in, and the level to claim."""

    network: Network
    a: Floats
    deployed: bool

    def forward(
        self, box: Fact, cuts: Cuts | None = None, known: Facts | None = None, after: Sequence[After] = ()
    ) -> Facts:
        """Facts of pieces of a box, (pieces, inputs).

        known: of the whole box, whose cushions hold here, too; as far as these go, so do the pieces'. after:
        called with the facts so far after each step, to add what else is known of its value.
        """
        facts, steps = Facts([], np.zeros(len(box.low), np.bool_)), self.network.steps
        theirs = [None] * (1 + len(steps)) if known is None else known.values
        self._add(facts, theirs[0] or box, cuts)
        for step, old in zip(steps, theirs[1:], strict=False):
            if old is not None and all(facts.values[i] is theirs[i] for i in step.inputs):
                fact = old
            elif isinstance(step.does, Affine):
                fact = self._affine(facts, step, step.does, old)
            else:
                fact = self._function(self._entering(facts, step), step.does)
            if old is not None and fact is not old:
                fact = replace(fact, low=_most(fact.low, old.low), high=-_most(-fact.high, -old.high))
            self._add(facts, fact, cuts)
            for add_to in after:
                add_to(facts)
        return facts

    @cached_property
    def loose(self) -> dict[int, int]:
        """The values that functions want rows for, but those whose intervals are exact: affine in a box.

        Of each the place of its first row among all of these: two for each element.
        """
        boxes, exact = {0}, {0}
        for k, step in enumerate(self.network.steps):
            if isinstance(step.does, Affine) and len(step.inputs) == 1 and step.inputs[0] in boxes:
                exact.add(k + 1)
                if isinstance(step.does, Scale) or (isinstance(step.does, Pick) and step.does.terms == 0):
                    boxes.add(k + 1)
        wanted = {value for k in self.network.functions for value in self.network.steps[k].rows}
        values = sorted(wanted - exact)
        sizes = [2 * self.network.size(value) for value in values]
        return dict(zip(values, np.cumsum([0, *sizes]).tolist(), strict=False))

    def _entering(self, facts: Facts, step: Step) -> Fact:
        """What is known of a step's inputs, one behind the other."""
        xs = [facts.values[i] for i in step.inputs]
        return xs[0] if len(xs) == 1 else Fact(_joined([x.low for x in xs]), _joined([x.high for x in xs]))

    def _affine(self, facts: Facts, step: Step, does: Affine, known: Fact | None) -> Fact:
        a, x = self.a, self._entering(facts, step)
        low, high = x.low, x.high
        middle = (low + high) * a.half
        radius = a.up(np.maximum(high - middle, middle - low))
        if known is not None:
            cushion = known.cushion
        else:
            size = does.absolute.value(np.abs(middle) + radius)
            terms = does.terms if does.bias is None else max(does.terms, step.size)
            cushion = a.gamma(terms + 12) * size + a.tiny
            if self.deployed and does.executed:  # how far a float32 execution may be off
                terms = does.executed + 2
                executed = a.gamma(terms, _U32) * size + terms * _LEAST32
                cushion = cushion + np.where(size < _MOST32, executed, np.inf)
        middle, radius = does.value(middle), a.up(does.absolute.linear(radius) + cushion)
        return Fact(a.down(middle - radius), a.up(middle + radius), cushion)

    def _function(self, x: Fact, does: Function) -> Fact:
        least, most = does.image(x.low, x.high, self.a)
        if (radius := self._radius(does, x)) is not None:
            least, most = self.a.down(least - radius), self.a.up(most + radius)
        return Fact(least, most, lines=self._around(does, x, None))

    def _radius(self, does: Function, x: Fact) -> Array | None:
        """How far executions of a function may be off; None: not at all."""
        off = does.deployed() if self.deployed else None
        if off is None or not any(off):
            return None
        return off[0] * np.maximum(*map(np.abs, does.image(x.low, x.high, self.a))) + off[1]

    def _around(self, does: Function, x: Fact, codes: Array | None) -> tuple[Array, ...]:
        """Slopes and constants of lines below and above a function, (pieces or rows, elements), and their
        cushion; those around a function of several values have slopes for each, one behind the other."""
        a, low, high = self.a, x.low, x.high
        s, t = (does.slope(low, high, codes, a, sign) for sign in (1, -1))
        c, d = does.least(low, high, s, a, 1), -does.least(low, high, t, a, -1)
        steep, far = (np.maximum(np.abs(p), np.abs(q)) for p, q in ((s, t), (c, d)))
        inputs = low.shape[1] // c.shape[1]
        cushion = a.gamma(low.shape[1] + 8) * sum(np.split(steep * x.size, inputs, 1), far) + a.tiny
        radius = self._radius(does, x)
        return s, c, t, d, cushion if radius is None else cushion + radius

    def _add(self, facts: Facts, fact: Fact, cuts: Cuts | None) -> None:
        """One more value, whose intervals the cuts meet."""
        if cuts is not None and bool((here := cuts.value == len(facts.values)).any()):
            ends = []
            for side, end, meet in ((1, fact.low, np.maximum), (-1, fact.high, np.minimum)):
                chosen = here & (cuts.side == side)
                ends.append(np.broadcast_to(end, (len(facts.empty), end.shape[1])).copy())
                meet.at(ends[-1], (cuts.piece[chosen], cuts.element[chosen]), cuts.at[chosen])
            fact = replace(fact, low=ends[0], high=ends[1])
        facts.empty |= (fact.low > fact.high).any(1)
        facts.values.append(fact)

    def kinked(self, value: int) -> bool:
        """Whether functions take a value, and all of these are linear on either side of zero."""
        users = [s.does for s in self.network.steps if value in s.inputs and isinstance(s.does, Function)]
        return bool(users) and all(does.kinked for does in users)

    def tighten(self, facts: Facts, rows: Array | None = None) -> None:
        """Meet the last value's undecided intervals, if functions take it, with bounds by rows.

        From above first: what is below zero then is done. rows: which ones, of all that there may be.
        """
        value = len(facts.values) - 1
        if value not in self.loose:
            return
        kinked, first = self.kinked(value), self.loose[value]
        for side in (-1, 1):
            low, high = facts.values[value].low, facts.values[value].high
            wanted = (low < 0) & (high > 0) if kinked else low < high
            if rows is not None:
                wanted &= rows[first:][: low.shape[1]]
                first += low.shape[1]
            pieces, elements = np.nonzero(wanted & ~facts.empty[:, None])
            bounds = [self.a.zeros(0)]
            for part in parts(len(pieces), self.rows_at_once):
                piece, element = pieces[part], elements[part]
                account = Account(self.a, piece)
                # Where lines are the same for all rows, those lie side by side in memory if images are met.
                beside = self._images and len(low) == 1
                row = self.a.zeros(low.shape[1], len(piece)).T if beside else account.zeros(low.shape[1])
                row[np.arange(len(piece)), element] = side
                bounds.append(self.lower(facts, value, row, account))
            self.meet(facts, pieces, elements, np.array(side), np.concatenate(bounds))

    def meet(self, facts: Facts, piece: Array, element: Array, side: Array, bounds: Array) -> None:
        """Meet intervals of the last value with lower bounds of ``side z[element]``; NaN says nothing."""
        fact, at = facts.values.pop(), side * np.where(bounds > -np.inf, bounds, -np.inf)
        value = np.full(len(element), len(facts.values))
        self._add(facts, fact, Cuts(piece, value, element, side, at, np.zeros((0, 0))))

    @cached_property
    def _images(self) -> bool:
        """Whether there are convolutions, which take many rows at once only where these lie side by side."""
        return any(isinstance(step.does, Convolution) for step in self.network.steps)

    @cached_property
    def rows_at_once(self) -> int:
        """How many rows fit into memory."""
        return max(1, _MEMORY // (32 * max((step.size for step in self.network.steps), default=1)))

    def lower(self, facts: Facts, value: int, rows: Array, account: Account) -> Array:
        """Lower bounds, (rows,), of rows over a value, (rows, elements), on their pieces."""
        a, steps, row = self.a, self.network.steps, {value: rows}
        for k in range(value - 1, -1, -1):
            self._multiply(facts, k + 1, row, account)
            lam = row.pop(k + 1, None)
            if lam is None:
                continue
            does = steps[k].does
            if isinstance(does, Affine):
                account.less(lam, facts.values[k + 1].cushion)
                if does.bias is not None:
                    account.add(lam @ does.bias)
                moved = does.adjoint(lam)
            else:
                moved = self._through(facts, k, does, lam, account)
            for source in steps[k].inputs:
                fact = facts.values[source]
                part, moved = moved[:, : fact.low.shape[1]], moved[:, fact.low.shape[1] :]
                if source in row:
                    part = row[source] + part
                    account.less(part, a.gamma(2) * fact.size)
                row[source] = part
                account.less_rows(account.of(a.tiny * (1 + fact.largest)))
        if (lam := row.get(0)) is not None:
            fact = facts.values[0]
            account.less(lam, a.gamma(lam.shape[1] + 4) * fact.size + a.tiny)
            low, high = np.maximum(lam, a.zeros()), np.minimum(lam, a.zeros())
            account.add(account.dot(low, fact.low) + account.dot(high, fact.high))
        return account.lower()

    def _through(self, facts: Facts, k: int, does: Function, lam: Array, account: Account) -> Array:
        """Rows at a function's output, through the lines that they see, to its input."""
        codes = None if account.codes is None else account.codes[:, self.starts[k] :][:, : lam.shape[1]]
        if codes is not None and bool(codes.any()):  # each row its own lines
            fact = self._entering(facts, self.network.steps[k])
            lines = self._around(does, Fact(account.of(fact.low), account.of(fact.high)), codes)
        else:
            lines = tuple(map(account.of, facts.values[k + 1].lines))
        s, c, t, d, cushion = lines
        account.less_rows(_dot(np.abs(lam), cushion))
        up, down = np.maximum(lam, self.a.zeros()), np.minimum(lam, self.a.zeros())
        account.add(_dot(up, c) + _dot(down, d))
        inputs = s.shape[1] // lam.shape[1]
        return _joined(
            [up * p + down * q for p, q in zip(*(np.split(x, inputs, 1) for x in (s, t)), strict=True)]
        )

    @cached_property
    def starts(self) -> dict[int, int]:
        """Where the slope codes of each function begin."""
        sizes = [self.network.steps[k].size for k in self.network.functions]
        return dict(zip(self.network.functions, np.cumsum([0, *sizes]).tolist(), strict=False))

    def _multiply(self, facts: Facts, value: int, row: dict[int, Array], account: Account) -> None:
        """Add to rows over a value the multiples of its cuts."""
        cuts = account.cuts
        if cuts is None or not len(here := np.flatnonzero(cuts.value == value)):
            return
        piece, element, side, at = (x[here, None] for x in (cuts.piece, cuts.element, cuts.side, cuts.at))
        mu, fact = cuts.multipliers[here], facts.values[value]  # (steps, rows of each piece)
        rows = piece * mu.shape[1] + np.arange(mu.shape[1])
        worth, magnitude = account.zeros(), account.zeros()
        lam = row[value].copy() if value in row else account.zeros(fact.low.shape[1])
        size = np.broadcast_to(fact.size, (len(facts.empty), lam.shape[1]))[piece, element]
        np.add.at(magnitude, rows, np.abs(mu * at) + (np.abs(lam[rows, element]) + mu) * size)
        np.subtract.at(lam, (rows, element), mu * side)
        np.add.at(worth, rows, mu * side * at)
        depth = int(np.bincount(piece[:, 0]).max())
        account.add(worth)
        account.less_rows(self.a.gamma(2 * depth + 8) * magnitude + self.a.tiny * (1 + depth))
        row[value] = lam


def _joined(xs: list[Array]) -> Array:
    """Values one behind the other, (pieces or 1, elements)."""
    pieces = max(map(len, xs))
    return xs[0] if len(xs) == 1 else np.hstack([np.broadcast_to(x, (pieces, x.shape[1])) for x in xs])


def _most(x: Array, y: Array) -> Array:
    """The larger number; x where y is none."""
    return np.where(y > x, y, x)


def _dot(lam: Array, x: Array) -> Array:
    """Of each row the sum of its products with numbers (rows or 1, elements)."""
    return np.asarray(lam @ x[0] if len(x) == 1 else np.einsum("ij,ij->i", lam, x))
