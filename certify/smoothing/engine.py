"""Votes of a classifier over noisy copies of many inputs, whose procedures run side by side.

Every sample has a procedure that asks for draws and gets their votes. The draws of many samples share a
batch, and a sample that stops makes room for the others at once, so that batches stay full until the end.
Nothing waits for a GPU but the votes that a procedure needs to go on, and these are read one batch late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.noise import Draws, stream_key
from certify.run import Run
from certify.smoothing.intervals import IntArray
from certify.smoothing.laws import Perturbation
from certify.smoothing.modes import Ask
from certify.smoothing.votes import Piece, Votes

T = TypeVar("T")
Classifier = Callable[[Tensor], Tensor]
Procedure = Generator[Ask, IntArray, T]

# Long streams are cut at multiples of this: what an interruption may cost a sample, at most.
PIECE = 10_000
_PROBE = 8
# Repeated calls may differ by the rounding of another kernel, not by more.
_REPEAT_TOLERANCE = 1e-3


@dataclass(eq=False)
class _Slot(Generic[T]):
    """A sample in work: the row of its input, the piece it waits for, and how much of that was sent off."""

    row: int
    pieces: Generator[Piece, IntArray, T]
    piece: Piece
    sent: int = 0


@dataclass(frozen=True, eq=False)
class Engine:
    """Runs procedures over the votes of ``forward`` under ``law``.

    forward: (rows, *input_shape) -> logits (rows, classes), for any number of rows up to batch_size.
    votes: what is known already, and where new votes are put; draws that it knows are not made again.
    static: whether every call has batch_size rows, the last ones filled up, for a compiled ``forward``.

    A sample's noise is a function of (run.seed, law, sample id, stream, number of the draw) and the type of
    device alone; batch size, order and company of the samples do not enter. Votes can differ only where
    ``forward`` itself rounds differently in another batch and the decision hangs on it.
    """

    forward: Classifier
    law: Perturbation
    batch_size: int
    run: Run
    votes: Votes
    static: bool = False

    def probe(self, x: Tensor, sample: int) -> int:
        """Try the classifier on noisy copies of one input ``x``; return its number of classes.

        Votes are independent only if a row's logits depend on that row alone. Raises ``UsageError`` for a
        model that overwrites its input, for one that answers differently when asked again (dropout), for
        one whose answer depends on the other rows of the batch (batch normalisation in training mode), for
        NaN and for logits of a wrong shape.
        """
        rows = min(_PROBE, self.batch_size)
        noisy = self.law.perturb(x, self._draws(x, Piece(sample, "probe", 0, 2 * rows)))
        given = noisy[:rows].clone()
        first = self._logits(given)
        if not torch.equal(given, noisy[:rows]):
            raise UsageError("the model overwrites its input; have it work on a copy, such as x.clone()")
        _refuse_nan(first.isnan().any().cpu()[None], (sample,))
        if _differ(first, self._logits(noisy[:rows])):
            raise UsageError(
                "the model is not deterministic: two calls on one input differ; switch dropout and noise "
                "off, for a torch module with model.eval()"
            )
        half = rows // 2
        company = self._logits(torch.cat([noisy[:half], noisy[rows + half :]]))
        if _differ(first[:half], company[:half]):
            raise UsageError(
                "the model's answer on one input depends on the rest of its batch; switch batch statistics "
                "off, for a torch module with model.eval()"
            )
        return first.shape[1]

    def fitting(self, x: Tensor) -> Engine:
        """This engine with its batch halved until memory holds it, tried on copies of one input ``x``."""
        rows = self.batch_size
        while rows > 1:
            try:
                with torch.no_grad():
                    self.forward(x.repeat(rows, *[1] * x.dim()))
                break
            except torch.OutOfMemoryError:
                rows //= 2
        return replace(self, batch_size=rows)

    def outcomes(
        self, x: Tensor, samples: Sequence[int], classes: int, procedures: Sequence[Procedure[T]]
    ) -> list[T]:
        """What each sample's procedure returns, in order.

        x: (batch, *input_shape) on the run's device. Raises ``UsageError`` where a logit is NaN (naming the
        sample) or the logits have the wrong shape.
        """
        found: dict[int, T] = {}
        ready: deque[_Slot[T]] = deque()
        for row, (sample, procedure) in enumerate(zip(samples, procedures, strict=True)):
            pieces = _pieces(sample, procedure, self.votes, classes)
            try:
                ready.append(_Slot(row, pieces, next(pieces)))
            except StopIteration as stop:
                found[row] = stop.value
        tally = torch.zeros(len(x), classes + 1, dtype=torch.int64, device=x.device)
        unread: deque[_Reading[T]] = deque()
        lag = 0 if x.device.type == "cpu" else 1
        while ready or unread:
            if ready:
                unread.append(_Reading.of(self._send(x, ready, tally), tally))
            while unread and (len(unread) > lag or not ready):
                for slot, votes in unread.popleft().votes():
                    self.votes.put(slot.piece, votes)
                    try:
                        slot.piece, slot.sent = slot.pieces.send(votes), 0
                        ready.append(slot)
                    except StopIteration as stop:
                        found[slot.row] = stop.value
            self.run.progress("smoothing", len(found), len(x))
        return [found[row] for row in range(len(x))]

    def _send(self, x: Tensor, ready: deque[_Slot[T]], tally: Tensor) -> list[_Slot[T]]:
        """Fill one batch and count its votes into the rows of ``tally``; the slots whose piece that ends."""
        noisy, owners, ended, room = list[Tensor](), list[Tensor](), list[_Slot[T]](), self.batch_size
        while ready and room:
            slot = ready[0]
            piece, count = slot.piece, min(room, slot.piece.count - slot.sent)
            part = Piece(piece.sample, piece.stream, piece.first + slot.sent, count)
            noisy.append(self.law.perturb(x[slot.row], self._draws(x, part)))
            owners.append(torch.full((count,), slot.row, device=x.device))
            slot.sent += count
            room -= count
            if slot.sent == piece.count:
                ended.append(ready.popleft())
        if self.static and room:
            noisy.append(torch.zeros_like(x[0]).expand(room, *x.shape[1:]))
        logits = self._logits(torch.cat(noisy) if len(noisy) > 1 else noisy[0], tally.shape[1] - 1)
        logits = logits[: self.batch_size - room]
        vote = torch.where(logits.isnan().any(1), tally.shape[1] - 1, logits.argmax(1))
        # bincount would wait for the device to learn its size
        place = torch.cat(owners) * tally.shape[1] + vote
        tally.view(-1).scatter_add_(0, place, torch.ones_like(place))
        return ended

    def _draws(self, x: Tensor, piece: Piece) -> Draws:
        key = stream_key(self.run.seed, repr(self.law), piece.sample, piece.stream)
        return Draws(key, piece.first, piece.count, x.device, x.dtype)

    def _logits(self, noisy: Tensor, classes: int | None = None) -> Tensor:
        """The classifier's answer, in parts where memory is short; refused unless one row for each input."""
        with torch.no_grad():
            try:
                logits = self.forward(noisy)
            except torch.OutOfMemoryError:
                if len(noisy) == 1:
                    raise
                return torch.cat([self._logits(part, classes) for part in noisy.chunk(2)])
        shape = tuple(logits.shape)
        fits = len(shape) == 2 and shape[0] == len(noisy) and shape[1] >= 1
        if not (fits and logits.is_floating_point()) or classes not in (None, shape[1]):
            expected = "at least 1" if classes is None else classes
            raise UsageError(
                f"the model returns {shape} of {logits.dtype} for {len(noisy)} inputs; smoothing needs "
                f"floating-point logits (rows, classes), here {len(noisy)} rows of {expected} classes"
            )
        return logits


@dataclass(frozen=True, eq=False)
class _Reading(Generic[T]):
    """Votes on their way from the device: those of pieces that one batch ended."""

    slots: list[_Slot[T]]
    counts: Tensor
    arrived: torch.Event | None

    @classmethod
    def of(cls, slots: list[_Slot[T]], tally: Tensor) -> _Reading[T]:
        """Copy the slots' rows, set them to zero for what comes next, and go on without waiting."""
        rows = torch.tensor([slot.row for slot in slots], dtype=torch.int64, device=tally.device)
        counts = tally[rows].to("cpu", non_blocking=True)
        tally[rows] = 0
        arrived = None
        if tally.device.type == "cuda":
            arrived = torch.Event(tally.device)
            arrived.record()
        return cls(slots, counts, arrived)

    def votes(self) -> list[tuple[_Slot[T], IntArray]]:
        """The votes of each slot's piece, (classes,), once they are here."""
        if self.arrived is not None:
            self.arrived.synchronize()
        _refuse_nan(self.counts[:, -1] > 0, tuple(slot.piece.sample for slot in self.slots))
        return list(zip(self.slots, self.counts[:, :-1].numpy(), strict=True))


def _pieces(
    sample: int, procedure: Procedure[T], votes: Votes, classes: int
) -> Generator[Piece, IntArray, T]:
    """The draws that a procedure needs and that are not known, piece by piece; gets the votes of each."""
    drawn: dict[str, int] = {}
    ask = next(procedure)
    while True:
        at = drawn.get(ask.stream, 0)
        end, total = at + ask.count, np.zeros(classes, dtype=np.int64)
        while at < end:
            known = votes.get(sample, ask.stream, at)
            if known is None or known[0] > end - at:
                piece = Piece(sample, ask.stream, at, min(end, (at // PIECE + 1) * PIECE) - at)
                known = (piece.count, (yield piece))
            at, total = at + known[0], total + known[1]
        drawn[ask.stream] = end
        try:
            ask = procedure.send(total)
        except StopIteration as stop:
            value: T = stop.value
            return value


def _differ(first: Tensor, second: Tensor) -> bool:
    """Whether two answers to one question differ by more than rounding."""
    if first.numel() == 0:
        return False
    scale = torch.where(first.isfinite(), first, 0).abs().max()
    return not torch.allclose(first, second, rtol=0, atol=float(scale) * _REPEAT_TOLERANCE)


def _refuse_nan(bad: Tensor, samples: tuple[int, ...]) -> None:
    """Name the first sample with NaN logits; ``bad``: boolean (batch,) on the CPU."""
    if bad.any():
        sample = samples[int(bad.nonzero()[0, 0])]
        raise UsageError(f"the model returns NaN for noisy copies of sample {sample}; repair the model")
