"""Counting a classifier's votes over noisy copies of its inputs, batched over inputs and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.run import Run
from certify.smoothing.law import NoiseLaw

Classifier = Callable[[Tensor], Tensor]
Rows = tuple[Tensor, Tensor]  # noisy inputs (rows, *input_shape), and the index of the sample each belongs to

# Draws that share one generator. A constant of the method: another value gives other noise for a seed.
BLOCK = 100
_PROBE = 8
# Repeated calls may differ by the rounding of another kernel, not by more.
_REPEAT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Sampler:
    """Votes of ``forward`` under ``law``, keyed so that a sample's noise depends on nothing but its id.

    forward: (rows, *input_shape) -> logits (rows, num_classes), for any number of rows up to batch_size.
    The noise of a sample is a function of (run.seed, device type, law, sample id, stage) alone; batch size,
    order and company of the samples do not enter. Counts can differ only where ``forward`` itself rounds
    differently in another batch and the decision hangs on it.
    """

    forward: Classifier
    law: NoiseLaw
    batch_size: int
    run: Run

    def probe(self, x: Tensor, sample: int) -> int:
        """Try the classifier on noisy copies of one input ``x``; return its number of classes.

        Votes are independent only if a row's logits depend on that row alone. Raises ``UsageError`` for a
        model that answers differently when asked again (dropout), for one whose answer depends on the other
        rows of the batch (batch normalisation in training mode), for NaN and for logits of a wrong shape.
        """
        rows = min(_PROBE, self.batch_size)
        noisy = self.law.perturb(x, 2 * rows, self._generator(sample, "probe"))
        first = self._logits(noisy[:rows])
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

    def count(self, x: Tensor, samples: tuple[int, ...], classes: int, n: int, stage: str) -> Tensor:
        """Votes per class over ``n`` noisy copies of each input: int64 (batch, classes) on the CPU.

        x: (batch, *input_shape) on the run's device. Nothing waits for the device until all is counted.
        Raises ``UsageError`` where a logit is NaN (naming the sample) or the logits have the wrong shape.
        """
        bins = classes + 1  # the last one counts draws with a NaN
        counts = torch.zeros(len(x) * bins, dtype=torch.int64, device=x.device)
        done = 0
        for noisy, owner in self._batches(x, samples, n, stage):
            logits = self._logits(noisy, classes)
            vote = torch.where(logits.isnan().any(1), classes, logits.argmax(1))
            # bincount would wait for the device to learn its size
            counts.scatter_add_(0, owner * bins + vote, torch.ones_like(owner))
            done += len(noisy)
            self.run.progress(f"smoothing: {stage}", done, len(x) * n)
        votes = counts.view(len(x), bins).cpu()
        _refuse_nan(votes[:, -1] > 0, samples)
        return votes[:, :-1].contiguous()

    def _logits(self, noisy: Tensor, classes: int | None = None) -> Tensor:
        """The classifier's answer; refused unless it is one row of class scores per input."""
        with torch.no_grad():
            logits = self.forward(noisy)
        shape = tuple(logits.shape)
        fits = len(shape) == 2 and shape[0] == len(noisy) and shape[1] >= 2
        if not (fits and logits.is_floating_point()) or classes not in (None, shape[1]):
            expected = "at least 2" if classes is None else classes
            raise UsageError(
                f"the model returns {shape} of {logits.dtype} for {len(noisy)} inputs; smoothing needs "
                f"floating-point logits (rows, classes), here {len(noisy)} rows of {expected} classes"
            )
        return logits

    def _batches(self, x: Tensor, samples: tuple[int, ...], n: int, stage: str) -> Iterator[Rows]:
        """The pieces of all samples, joined to at most batch_size rows at a time."""
        held: list[Rows] = []
        rows = 0
        for piece in self._pieces(x, samples, n, stage):
            if rows + len(piece[0]) > self.batch_size:
                yield _joined(held)
                held, rows = [], 0
            held.append(piece)
            rows += len(piece[0])
        if held:
            yield _joined(held)

    def _pieces(self, x: Tensor, samples: tuple[int, ...], n: int, stage: str) -> Iterator[Rows]:
        """The blocks of every sample in turn, cut where a block is larger than a batch."""
        for index, sample in enumerate(samples):
            for block, start in enumerate(range(0, n, BLOCK)):
                generator = self._generator(sample, f"{stage}:{block}")
                noisy = self.law.perturb(x[index], min(BLOCK, n - start), generator)
                owner = torch.full((len(noisy),), index, device=x.device)
                for at in range(0, len(noisy), self.batch_size):
                    yield noisy[at : at + self.batch_size], owner[at : at + self.batch_size]

    def _generator(self, sample: int, stage: str) -> torch.Generator:
        return self.run.generator(repr(self.law), sample, stage)


def _joined(pieces: list[Rows]) -> Rows:
    """One batch of several pieces."""
    noisy, owner = zip(*pieces, strict=True)
    return torch.cat(noisy), torch.cat(owner)


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
