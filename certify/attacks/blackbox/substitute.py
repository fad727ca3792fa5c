"""A substitute: a small network trained on another model's answers, to be attacked in its place."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from certify.attacks.blackbox.view import Oracle
from certify.attacks.settings import check_between, check_counts
from certify.attacks.tally import Tally
from certify.errors import UsageError
from certify.model import Model
from certify.run import Run

_DEFAULT_RUN = Run()
_BATCH = 128
_IMAGE = 8  # sides from which an input is taken for an image


@dataclass(frozen=True, eq=False)
class Trained:
    """A substitute for a model. queries: the answers of the model that it was trained on."""

    model: Model
    queries: int


@dataclass(frozen=True)
class Substitute:
    """How to train a substitute by queries (Papernot et al. 2017, algorithm 1).

    The attacker's own inputs are labelled by the model under attack. After each of ``rounds`` trainings, of
    ``epochs`` passes by gradient descent with momentum, every input x gets a new one beside it,
    ``x + step * sign(gradient of the logit of its label)``, which is labelled, too (Jacobian-based
    augmentation), until ``queries`` answers have been given. Classes alone are asked for. The
    constants are the paper's; the network is a small convolutional one for images, else a perceptron.

    queries: the budget of the whole training, for all samples that are attacked later. step: in input units.
    Raises ``UsageError`` for a value outside its domain.
    """

    queries: int = 6400
    rounds: int = 6
    epochs: int = 10
    step: float = 0.1
    rate: float = 0.01

    def __post_init__(self) -> None:
        check_counts("Substitute", 2, queries=self.queries)
        check_counts("Substitute", 1, rounds=self.rounds, epochs=self.epochs)
        check_between("Substitute", 0, math.inf, step=self.step, rate=self.rate)

    def train(self, model: Model, x: Tensor, run: Run = _DEFAULT_RUN) -> Trained:
        """A substitute for a model from the attacker's inputs, which are not those to be attacked.

        x: (n, *input_shape), in the model's input range. The same seed gives the same substitute.
        Raises ``UsageError`` for another shape or no input at all.
        """
        if tuple(x.shape[1:]) != model.input_shape or len(x) == 0:
            raise UsageError(
                f"x has shape {tuple(x.shape)}; a substitute of {model.name} is trained on at least one "
                f"input of shape {model.input_shape}"
            )
        answers = _Labels(Oracle(model, self.queries, run, Tally()), model.input_range)
        points, labels = answers.of(x.detach().to(run.device).float())
        generator = run.generator(repr(self), 0, "substitute")
        network = _network(model.input_shape, model.num_classes, points, generator)
        with torch.enable_grad():
            for number in range(self.rounds):
                self._fit(network, points, labels, generator)
                if number + 1 < self.rounds:
                    fresh = answers.of(points + self.step * _rise(network, points, labels))
                    points, labels = torch.cat([points, fresh[0]]), torch.cat([labels, fresh[1]])
        return Trained(_as_model(network, model), answers.oracle.tally.forwards[0])

    def _fit(self, network: nn.Module, points: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Some passes over all points."""
        optimiser = torch.optim.SGD(network.parameters(), lr=self.rate, momentum=0.9)
        for _ in range(self.epochs):
            order = torch.randperm(len(points), generator=generator, device=points.device)
            for part in torch.split(order, _BATCH):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(network(points[part]), labels[part])
                torch.autograd.backward(loss)
                optimiser.step()


@dataclass(frozen=True, eq=False)
class _Labels:
    """The classes that a model gives, as far as its budget goes."""

    oracle: Oracle
    valid: tuple[float, float] | None

    def of(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The points, moved into the valid range, that are answered by finite numbers, and their classes."""
        if self.valid is not None:
            points = points.clamp(*self.valid)
        wanted = torch.ones(1, len(points), dtype=torch.bool)
        outputs, given = self.oracle.outputs(points[None], (0,), wanted)
        finite = outputs.isfinite().all(1)
        return points[given[0]][finite], outputs.argmax(1)[finite]


def _rise(network: nn.Module, points: Tensor, labels: Tensor) -> Tensor:
    """The signs of the gradient of each label's logit."""
    leaf = points.detach().requires_grad_()
    logits: Tensor = network(leaf).gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, leaf)
    return gradient.sign()


class _Standardised(nn.Module):
    """A network behind the mean and the deviation of what it was first trained on, in float32."""

    def __init__(self, network: nn.Module, points: Tensor) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = float(points.mean()), float(points.std(correction=0).clamp(min=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.network((x.float() - self.mean) / self.std)
        return logits.to(x.dtype)


def _network(
    shape: tuple[int, ...], classes: int, points: Tensor, generator: torch.Generator
) -> _Standardised:
    """A network with weights from a generator of its own; no global one is touched."""
    if len(shape) == 3 and min(shape[1:]) >= _IMAGE:
        sides = [(n - 4) // 2 + 1 for n in shape[1:]]
        inner = math.prod((n - 2) // 2 + 1 for n in sides)
        layers = [
            nn.Conv2d(shape[0], 16, 4, stride=2, device="meta"),
            nn.ReLU(),
            nn.Conv2d(16, 32, 2, stride=2, device="meta"),
        ]
        width = 32 * inner
    else:
        layers = [nn.Flatten(), nn.Linear(math.prod(shape), 100, device="meta")]
        width = 100
    layers += [nn.ReLU(), nn.Flatten(), nn.Linear(width, 100, device="meta"), nn.ReLU()]
    layers += [nn.Linear(100, classes, device="meta")]
    network = _Standardised(nn.Sequential(*layers), points).to_empty(device=points.device)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
        else:
            nn.init.zeros_(parameter)
    return network


def _as_model(network: _Standardised, model: Model) -> Model:
    """The trained network as a model, known by its weights."""
    network.requires_grad_(requires_grad=False).eval()
    digest = hashlib.sha256(f"{network.mean!r}{network.std!r}".encode())
    for parameter in network.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    name = f"substitute of {model.name}"
    return Model(
        network, None, model.input_shape, model.num_classes, model.input_range, name, digest.hexdigest()
    )
