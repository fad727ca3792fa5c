"""Classifiers of scikit-learn, read through skops, as modules that return their decision values."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.errors import ArtefactRejected, UsageError
from certify.loading.archive import open_archive
from certify.loading.limits import one_line

_MOST_SCHEMA = 2**24  # bytes
_OPTIMISERS = [  # an MLP keeps the one it was trained with; they are numbers and lists
    f"sklearn.neural_network._stochastic_optimizers.{name}" for name in ("AdamOptimizer", "SGDOptimizer")
]
_LINEAR = (
    *("LogisticRegression", "LogisticRegressionCV", "LinearSVC", "RidgeClassifier", "RidgeClassifierCV"),
    *("SGDClassifier", "Perceptron", "PassiveAggressiveClassifier", "LinearDiscriminantAnalysis"),
)
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
}


def read_estimator(path: Path, max_bytes: int) -> nn.Module:
    """The classifier in a ``.skops`` file, or a pipeline of scalers and one, from features to logits.

    Labels must be 0 ... k-1. Two classes give one output z, class 1 where z > 0. Weights must be such that
    float32 holds them exactly.
    Raises ``ArtefactRejected`` for what cannot be used, ``UsageError`` if skops is not installed.
    """
    estimator = _load(path, max_bytes)
    steps = [step for _, step in estimator.steps] if _kind(estimator) == "Pipeline" else [estimator]
    try:
        layers = [_scaler(path, step) for step in steps[:-1]]
        layers += _classifier(path, steps[-1])
    except AttributeError as error:  # names the fitted attribute that is not there
        raise ArtefactRejected(f"{path} holds an estimator that was not fitted: {one_line(error)}") from error
    return nn.Sequential(nn.Flatten(), *layers)


def skops_io() -> ModuleType:
    """``skops.io``, an optional extra; raises ``ImportError`` where it is not installed."""
    with _without_operators():
        return import_module("skops.io")


@contextmanager
def _without_operators() -> Iterator[None]:
    """While skops loads it asks every module for every name of SciPy's functions; ``torch.ops`` would make
    a namespace of each, and every later ``torch.export`` walk through all of them, a second each time."""
    operators = sys.modules.pop("torch.ops")
    try:
        yield
    finally:
        sys.modules["torch.ops"] = operators


def _load(path: Path, max_bytes: int) -> Any:
    try:
        skops = skops_io()
    except ImportError as error:
        raise UsageError(f"{path} needs skops; install certify-bounds[sklearn]") from error
    with path.open("rb") as file, open_archive(file, path, max_bytes) as archive:
        _check_arrays(path, archive)
        file.seek(0)
        data = file.read()
    try:
        unknown = sorted(set(skops.get_untrusted_types(data=data)) - set(_OPTIMISERS))
        if unknown:
            raise ArtefactRejected(
                f"{path} holds more than a classifier: {', '.join(unknown)[:200]} would have to run"
            )
        return skops.loads(data, trusted=_OPTIMISERS)
    except ArtefactRejected:
        raise
    # A damaged file fails somewhere inside skops or NumPy, with whatever their parts raise.
    except Exception as error:
        raise ArtefactRejected(f"{path} is not a skops file: {one_line(error)}") from error


def _check_arrays(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse arrays that declare more elements than they hold, and Python objects in them."""
    for member in archive.infolist():
        if member.filename == "schema.json" and member.file_size > _MOST_SCHEMA:
            raise ArtefactRejected(f"{path}: schema.json has more than {_MOST_SCHEMA} bytes")
        if not member.filename.endswith(".npy"):
            continue
        with archive.open(member) as file:
            try:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
            except (ValueError, EOFError, SyntaxError, TypeError) as error:
                raise ArtefactRejected(f"{path}: {member.filename} is no array: {one_line(error)}") from error
        if dtype.hasobject or prod(shape) * dtype.itemsize > member.file_size:
            raise ArtefactRejected(
                f"{path}: {member.filename} declares {prod(shape)} elements of {dtype} and does not hold them"
            )


def _kind(estimator: object) -> str:
    """The class's name, if scikit-learn defines it."""
    kind = type(estimator)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else f"{kind.__module__}.{kind.__name__}"


def _classifier(path: Path, estimator: Any) -> list[nn.Module]:
    kind = _kind(estimator)
    if kind not in (*_LINEAR, "MLPClassifier"):
        raise ArtefactRejected(f"{path} holds a {kind}; known are {', '.join((*_LINEAR, 'MLPClassifier'))}")
    classes = np.asarray(estimator.classes_)
    if classes.dtype.kind not in "iub" or not np.array_equal(classes, np.arange(len(classes))):
        raise ArtefactRejected(
            f"{path} has classes {str(classes.tolist())[:80]}; train it on labels 0, 1, 2, ..."
        )
    if kind != "MLPClassifier":
        return [_linear(path, estimator.coef_, estimator.intercept_, "coef_ and intercept_")]
    if estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1:
        raise ArtefactRejected(f"{path} gives several labels to one sample; a classifier gives one")
    layers: list[nn.Module] = []
    for weight, bias in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        layers += [_linear(path, np.asarray(weight).T, bias, "coefs_ and intercepts_")]
        layers += [_ACTIVATIONS[estimator.activation]()]
    return layers[:-1]  # softmax keeps the order of logits


def _scaler(path: Path, step: Any) -> nn.Module:
    """A step of a pipeline that scales every feature, as a linear layer."""
    kind, names = _kind(step), ""
    features = np.zeros(step.n_features_in_)
    if kind == "StandardScaler":
        names = "mean_ and scale_"
        scale = features + 1 if step.scale_ is None else np.asarray(step.scale_)
        shift = features if step.mean_ is None or not step.with_mean else np.asarray(step.mean_)
        return _Scaled(_exact(path, shift, names), _exact(path, scale, names))
    if kind == "MinMaxScaler" and not step.clip:
        names = "scale_ and min_"
        linear = nn.Linear(len(features), len(features))
        return _filled(linear, _exact(path, np.diag(step.scale_), names), _exact(path, step.min_, names))
    raise ArtefactRejected(
        f"{path} has a step {kind}; known are StandardScaler, and MinMaxScaler without clip"
    )


class _Scaled(nn.Module):
    """``(x - shift) / scale`` per feature."""

    def __init__(self, shift: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return (x - self.get_buffer("shift")) / self.get_buffer("scale")


def _linear(path: Path, weight: object, bias: object, names: str) -> nn.Module:
    exact = _exact(path, np.atleast_2d(np.asarray(weight)), names)
    rows = torch.zeros(len(exact)) + _exact(path, bias, names)  # one 0.0 where nothing was fitted
    if exact.dim() != 2 or rows.shape != exact.shape[:1]:
        raise ArtefactRejected(f"{path}: {names} have shapes that do not fit together")
    return _filled(nn.Linear(exact.shape[1], exact.shape[0]), exact, rows)


def _filled(linear: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear


def _exact(path: Path, values: object, names: str) -> torch.Tensor:
    """The numbers in float32, if it holds them."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or not np.array_equal(
        array.astype(np.float32).astype(array.dtype), array
    ):
        raise ArtefactRejected(
            f"{path}: float32 does not hold {names} exactly; set them to their float32 values, save again, "
            "and certify that classifier"
        )
    return torch.from_numpy(np.array(array, dtype=np.float32))
