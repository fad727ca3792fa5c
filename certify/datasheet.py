"""What a run's model and data are, as JSON values for its report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import bounds
from certify.config import DataSection, ModelSection
from certify.dataset import Dataset
from certify.model import Model

_PREPROCESSING = "normalisation."  # what the nodes of a model's own steps before the network are named


def model_card(model: Model, section: ModelSection) -> dict[str, Any]:
    """Name, digests and shapes. The digest of the whole is over graph, exact weights and input range.

    Weights and graph have digests without the preprocessing, which has one of its own.
    """
    graph = model.graph
    input_range = None if model.input_range is None else list(model.input_range)
    steps = {"mean": _listed(section.mean), "std": _listed(section.std), "input_range": input_range}
    return {
        "name": model.name,
        "weights_sha256": None if graph is None else _weights(graph),
        "graph_sha256": None if graph is None else _structure(graph),
        "preprocessing": {**steps, "sha256": _sha256(json.dumps(steps, sort_keys=True).encode())},
        "input_shape": list(model.input_shape),
        "num_classes": model.num_classes,
        "parameters": None if graph is None else sum(p.numel() for p in _parameters(graph)),
    }


def data_sheet(data: Dataset, section: DataSection) -> dict[str, Any]:
    """Name, source, split, the rule of selection and the size of every class."""
    sizes = Counter(data.y.tolist())
    some = f"the first {len(data)} of {data.total}" if len(data) < data.total else f"all {data.total}"
    rule = f"{some} samples of {data.name}, in the order of the file"
    return {
        "name": data.name,
        "n": len(data),
        "source": section.source,
        "hub": section.hub,
        "split": section.split,
        "selection": rule if section.selection is None else f"{rule}; the file: {section.selection}",
        "per_class": [{"label": label, "n": sizes[label]} for label in sorted(sizes)],
    }


def _listed(values: float | tuple[float, ...] | None) -> list[float] | None:
    if values is None:
        return None
    return [values] if isinstance(values, float) else list(values)


def _parameters(graph: bounds.Graph) -> list[Any]:
    """All parameters of the network proper."""
    return [p for node in graph.nodes if not node.name.startswith(_PREPROCESSING) for p in node.params]


def _weights(graph: bounds.Graph) -> str:
    parts = [
        f"{p.dtype}{tuple(p.shape)}".encode() + p.detach().cpu().contiguous().numpy().tobytes()
        for p in _parameters(graph)
    ]
    return _sha256(b"".join(parts))


def _structure(graph: bounds.Graph) -> str:
    lines = [
        f"{node.op!r}|{node.inputs}|{node.shape}|{[tuple(p.shape) for p in node.params]}"
        for node in graph.nodes
    ]
    return _sha256("\n".join([*lines, f"-> {graph.output}"]).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
