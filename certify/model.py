"""The model under test: a network with its input range and normalisation, as code and as a graph."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

import bounds
from bounds.ops.elementwise import Divide, Subtract
from bounds.ops.linear import Linear
from bounds.ops.shape import Reshape
from bounds.proof import model_bytes
from certify.errors import ArtefactRejected, UsageError
from certify.loading import (
    MAX_BYTES,
    check_file,
    fill,
    frozen_copy,
    holds_exactly,
    one_line,
    read_module,
    read_weights,
)
from certify.run import Run

_TOLERANCE = 1e-4
BINARY_HEAD = "binary head"  # the name of the nodes that make two logits of one

Source = str | os.PathLike[str] | nn.Module
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OnnxFile:
    """A file's bytes, and the digest of the graph that it holds."""

    data: bytes
    graph: str


@dataclass(frozen=True, eq=False)
class Model:
    """A network, what it accepts, and the graph that bounds are computed on.

    forward: (batch, *input_shape) in input units -> logits (batch, num_classes), normalisation included, in
    float32. graph: the same function for the engine; None where nothing is bounded. input_range: valid
    values of every input element, None for no limit. file: the ONNX file, where there is one. digest: SHA-256
    in hex over graph structure, exact weights, normalisation and range; results are kept under it.
    """

    forward: Forward
    graph: bounds.Graph | None
    input_shape: tuple[int, ...]
    num_classes: int
    input_range: tuple[float, float] | None
    name: str
    digest: str
    file: OnnxFile | None = field(default=None, kw_only=True, repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    @property
    def onnx(self) -> bytes | None:
        """The bytes of the ONNX file that is this model's graph, with nothing before or after it."""
        if self.file is None or self.graph is None or self.graph.digest() != self.file.graph:
            return None
        return self.file.data

    def spec(self, y: Tensor) -> bounds.Spec:
        """What a robust decision keeps: the margins of the labels ``y``, (batch,), all > 0."""
        return bounds.margins(y, self.num_classes)

    def predictions(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run) -> tuple[Tensor, Tensor]:
        """The class at each input, int64, and whether it is the label's alone (a tie is not), booleans.

        x: (batch, *input_shape); y: (batch,) labels; samples: their ids. A model that answers by sampling has
        its noise keyed by these ids and ``run.seed``.
        """
        logits = self._logits(x)
        return logits.argmax(1), holds(bounds.margins(y, self.num_classes), logits)

    def p_values(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run, stage: str) -> list[float]:
        """How well "the point keeps ``spec(y)``" agrees with the model at each point: 0 disproves it.

        At most the probability, if it were so, to see what was seen; 0 or 1 where the model can be run as it
        is, and 1 where its logits are NaN or infinite, which is no answer at all. stage: keys the noise of a
        model that answers by sampling; points are to be chosen without a look at that noise.
        """
        logits = self._logits(x)
        kept = holds(self.spec(y), logits) | ~answers(logits)
        return kept.double().tolist()

    def _logits(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.forward(x)
        if logits.shape != (len(x), self.num_classes):
            raise UsageError(
                f"{self.name} returns shape {tuple(logits.shape)} for {len(x)} samples of "
                f"{self.num_classes} classes; it must return one logit per class"
            )
        return logits

    def to(self, device: torch.device | str) -> Model:
        """The same model on another device."""
        graph = None if self.graph is None else self.graph.to(device=device)
        forward = self.forward
        if isinstance(forward, nn.Module):
            forward = copy.deepcopy(forward).to(device)
        elif isinstance(forward, GraphForward):
            forward = GraphForward(forward.graph.to(device=device))
        return replace(self, forward=forward, graph=graph)


def holds(spec: bounds.Spec, outputs: Tensor) -> Tensor:
    """Whether the specification holds strictly at some outputs; float64 keeps the sign of differences."""
    spec = spec.to(torch.float64).on(outputs.device)
    return spec.worst(spec.evaluate(outputs.double())) > 0


def answers(outputs: Tensor) -> Tensor:
    """Where all outputs are finite numbers; (batch,) booleans."""
    return outputs.flatten(1).isfinite().all(1)


@dataclass(frozen=True, eq=False)
class GraphForward:
    """A graph executed as it is; outputs flattened to (batch, num_classes)."""

    graph: bounds.Graph

    def __call__(self, x: Tensor) -> Tensor:
        return self.graph(x).flatten(1)


class NormalisedModule(nn.Module):
    """``module((x - mean) / std)``, outputs flattened to (batch, num_classes)."""

    def __init__(self, module: nn.Module, normalisation: Normalisation | None) -> None:
        super().__init__()
        self.module = module
        self.mean: Tensor | None
        self.std: Tensor | None
        self.register_buffer("mean", None if normalisation is None else normalisation.mean)
        self.register_buffer("std", None if normalisation is None else normalisation.std)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = x.clone()  # the module may work in place
        if self.mean is not None and self.std is not None:
            x = x.sub_(self.mean).div_(self.std)
        y: Tensor = self.module(x)
        return y.flatten(1)


class BinaryHead(nn.Module):
    """A module with one output z as one with the two logits 0 and z: class 1 where z > 0."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        z = self.module(x).flatten(1)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def _with_two_logits(forward: Forward, graph: bounds.Graph) -> tuple[Forward, bounds.Graph]:
    """The same network with a logit for each of two classes."""
    builder = bounds.Builder(graph.input_shape)
    z = builder.apply(Reshape((1,)), [builder.inlined(graph, builder.input)], name=BINARY_HEAD)
    ends = builder.apply(Linear(), [z], (torch.tensor([[0.0], [1.0]]),), BINARY_HEAD)
    both = builder.build(ends)
    return BinaryHead(forward) if isinstance(forward, nn.Module) else GraphForward(both), both


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Mean and standard deviation per channel (axis 0 of one sample), float32, shaped to broadcast."""

    mean: Tensor
    std: Tensor

    def before(self, graph: bounds.Graph) -> bounds.Graph:
        """The graph with the normalisation as its first two nodes."""
        steps = [
            (Subtract(), (self.mean,), "normalisation.mean"),
            (Divide(), (self.std,), "normalisation.std"),
        ]
        return graph.prepend(steps, graph.input_shape)


PerChannel = float | Sequence[float]


def load(
    source: Source,
    *,
    weights: str | os.PathLike[str] | None = None,
    factory: str | None = None,
    input_shape: Sequence[int] | None = None,
    input_range: tuple[float, float] | None = (0.0, 1.0),
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    name: str | None = None,
    trust_code: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Model:
    """A model from an ONNX file, a weight file with the factory of its module, or an ``nn.Module``.

    source: ``.onnx`` (or ``.onnx.gz``); ``.safetensors``, ``.pt`` or ``.pth`` with a state_dict, for the
    module that ``factory`` ("package.module:callable", no arguments) returns; or a module, copied, with
    ``weights`` (a weight file) loaded into the copy if given; ``.skops``, a linear classifier or an MLP of
    scikit-learn (with the extra "sklearn"). Files are data: one that would run code when read is refused.
    trust_code: take ``.pt2`` and TorchScript programs too, which are code and run with your rights.
    max_bytes: of the file, and of its tensors together; a larger one is refused before it is read.
    input_shape: of one sample, without the batch; needed unless an ONNX file states it.
    input_range: valid input values, before normalisation; eps is in these units.
    mean, std: per channel or one for all; the network receives ``(x - mean) / std``.
    A network with a single output z is taken for a binary classifier with the logits 0 and z.

    Raises ``ArtefactRejected`` for files and networks that cannot be used, ``UsageError`` for arguments that
    do not fit together.
    """
    _check_range(input_range)
    if isinstance(source, nn.Module):
        if factory is not None:
            raise UsageError("factory builds the module for a weight file; a module needs none")
        module, title = frozen_copy(source), type(source).__name__
        if weights is not None:
            fill(module, read_weights(Path(weights), max_bytes), str(weights))
        forward, graph = _from_module(module, title, input_shape, mean, std)
    else:
        path = Path(source)
        title = path.name
        if weights is not None:
            raise UsageError(f"weights are loaded into a module, but {path} is a file of its own; drop one")
        if _is_onnx(path):
            check_file(path, max_bytes)
            if factory is not None:
                raise UsageError(
                    f"factory builds the module for a weight file; {path} is ONNX and needs none"
                )
            forward, graph = _from_onnx(path, input_shape, mean, std, max_bytes)
        else:
            module = read_module(path, factory, input_shape, trust_code=trust_code, max_bytes=max_bytes)
            forward, graph = _from_module(module, title, input_shape, mean, std)
    file = _file(source, graph, mean, std)
    if prod(graph.output_shape) == 1:
        forward, graph = _with_two_logits(forward, graph)
    _check_outputs(forward, graph, input_range, title)
    digest = hashlib.sha256(f"{graph.digest()}|{input_range}".encode()).hexdigest()
    classes = prod(graph.output_shape)
    return Model(forward, graph, graph.input_shape, classes, input_range, name or title, digest, file=file)


def _file(
    source: Source, graph: bounds.Graph, mean: PerChannel | None, std: PerChannel | None
) -> OnnxFile | None:
    if isinstance(source, nn.Module) or not _is_onnx(Path(source)) or (mean, std) != (None, None):
        return None
    return OnnxFile(model_bytes(Path(source)), graph.digest())


def _check_range(input_range: tuple[float, float] | None) -> None:
    if input_range is not None and not -math.inf < input_range[0] < input_range[1] < math.inf:
        raise UsageError(
            f"input_range is {input_range}; give two finite numbers (low, high) with low < high, or None"
        )


def _is_onnx(path: Path) -> bool:
    return path.name.endswith((".onnx", ".onnx.gz"))


def _from_onnx(
    path: Path,
    input_shape: Sequence[int] | None,
    mean: PerChannel | None,
    std: PerChannel | None,
    max_bytes: int,
) -> tuple[Forward, bounds.Graph]:
    try:
        graph = bounds.read_onnx(path, input_shape, max_bytes)
    except bounds.BoundsError as error:
        raise _rejected(path.name, error) from error
    if input_shape is not None and tuple(input_shape) != graph.input_shape:
        raise UsageError(
            f"input_shape is {tuple(input_shape)}, but {path} takes {graph.input_shape}; drop it"
        )
    for node in graph.nodes:
        if not all(holds_exactly(p, torch.float32) for p in node.params if p.is_floating_point()):
            raise ArtefactRejected(
                f"{path}: node {node.name!r} has float64 weights that float32 does not hold exactly; "
                "convert the network to float32 first and certify that one"
            )
    graph = graph.to(torch.float32)
    normalisation = _normalisation(mean, std, graph.input_shape)
    if normalisation is not None:
        graph = normalisation.before(graph)
    return GraphForward(graph), graph


def _from_module(
    module: nn.Module,
    title: str,
    input_shape: Sequence[int] | None,
    mean: PerChannel | None,
    std: PerChannel | None,
) -> tuple[Forward, bounds.Graph]:
    if input_shape is None:
        raise UsageError(f"{title}: give input_shape, the shape of one sample without the batch")
    shape = tuple(input_shape)
    if not shape or not all(size > 0 for size in shape):
        raise UsageError(
            f"input_shape is {shape}; give the positive sizes of one sample, such as (3, 32, 32)"
        )
    normalisation = _normalisation(mean, std, shape)
    try:
        graph = bounds.trace(module, torch.zeros(1, *shape))
    except bounds.BoundsError as error:
        raise _rejected(title, error) from error
    if normalisation is not None:
        graph = normalisation.before(graph)
    return NormalisedModule(module, normalisation), graph


def _rejected(title: str, error: bounds.BoundsError) -> ArtefactRejected:
    """The engine's message, with the file or module named once."""
    text = one_line(error, limit=500)
    return ArtefactRejected(text if title in text else f"{title}: {text}")


def _normalisation(
    mean: PerChannel | None, std: PerChannel | None, shape: tuple[int, ...]
) -> Normalisation | None:
    if mean is None and std is None:
        return None
    centre = _per_channel("mean", 0.0 if mean is None else mean, shape)
    scale = _per_channel("std", 1.0 if std is None else std, shape)
    if not (scale > 0).all():
        raise UsageError(f"std is {std}; every channel needs a number > 0")
    return Normalisation(centre, scale)


def _per_channel(title: str, values: PerChannel, shape: tuple[int, ...]) -> Tensor:
    flat = torch.tensor(values, dtype=torch.float32).flatten()
    if not flat.isfinite().all():
        raise UsageError(f"{title} is {values}; give finite numbers")
    if len(flat) not in (1, shape[0]):
        raise UsageError(
            f"{title} has {len(flat)} values for {shape[0]} channels; give one for all or one for each"
        )
    return flat.view(-1, *[1] * (len(shape) - 1))


def _check_outputs(
    forward: Forward, graph: bounds.Graph, input_range: tuple[float, float] | None, title: str
) -> None:
    """Refuse a network that is not finite on random inputs of its range, or that its graph differs from."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, *graph.input_shape, generator=generator)
    low, high = input_range or (-1.0, 1.0)
    x = low + (high - low) * x
    with torch.no_grad():
        expected, got = forward(x), graph(x).flatten(1)
    if not expected.isfinite().all():
        raise ArtefactRejected(
            f"{title} returns NaN or Inf on inputs in [{low:g}, {high:g}]; check range and weights"
        )
    gap = float((expected - got).abs().max())
    if not gap <= _TOLERANCE * (1.0 + float(expected.abs().max())):
        raise ArtefactRejected(
            f"{title}: the imported graph differs from the network by {gap:.2g} on random inputs; "
            "please report this network"
        )
