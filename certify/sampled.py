"""Models that answer by sampling: each class is the one that most random draws return."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from certify.binomial import binomial_tail
from certify.model import Model
from certify.run import Run


@dataclass(frozen=True, eq=False, init=False)
class Sampled(Model):
    """A model whose class at x is the one that a random draw returns most often; nothing computes it exactly.

    n0, n: the draws by which it answers itself: n0 vote for a prediction, and n more test whether a label is
    wrong. They are no part of what the model is. Noise is a function of (run.seed, sample id, stage, number
    of the draw): no batch, no order and no earlier question enters.
    """

    n0: int
    n: int

    @abstractmethod
    def draws(self, x: Tensor, samples: Sequence[int], m: int, run: Run, stages: Sequence[str]) -> Tensor:
        """The logits of m draws at each point, (batch, m, classes), differentiable by x.

        samples, stages: one of each for every point; they key its noise.
        """

    @abstractmethod
    def votes(
        self, x: Tensor, samples: Sequence[int], run: Run, stage: str, count: int | None = None
    ) -> Tensor:
        """The votes of ``count`` draws (None: n0) at each point, int64 (batch, num_classes) on the CPU."""

    def predictions(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run) -> tuple[Tensor, Tensor]:
        """The class with most of n0 votes, and whether it is the label and ahead of all others.

        An estimate: it says where the label is the class as far as so many draws tell.
        """
        votes = self.votes(x, samples, run, "prediction")
        own = votes.gather(1, y.cpu()[:, None])
        right = ((votes < own).sum(1) == self.num_classes - 1).to(y.device)
        return votes.argmax(1).to(y.device), right

    def p_values(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run, stage: str) -> list[float]:
        """The p-value, rounded up, of a binomial test that another class beats the label at each point.

        n0 draws choose the rival, the largest other class. Of n further ones only those for the label or the
        rival count: if the model's class were the label (ties included), the rival would win each of them
        with probability at most 1/2, independently. The binomial tail at 1/2 is the p-value, for any input,
        as the point and the rival are chosen by other noise.
        """
        if self.num_classes < 2:
            return [1.0] * len(x)
        labels = y.cpu()[:, None]
        first = self.votes(x, samples, run, f"{stage}, rival")
        rival = first.scatter(1, labels, -1).argmax(1, keepdim=True)
        second = self.votes(x, samples, run, f"{stage}, test", self.n)
        wins, own = (second.gather(1, which)[:, 0].tolist() for which in (rival, labels))
        return [binomial_tail(win, win + lost, 0.5) for win, lost in zip(wins, own, strict=True)]
