"""A CycloneDX 1.6 ML-BOM: the model as a component with a model card, its accuracies as metrics."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from certify.reporting.schema import Point, Report, Share, SmoothedModel
from certify.reporting.words import doubts


def mlbom(report: Report) -> bytes:
    """The JSON text; the same report gives the same bytes, so it has no time stamp."""
    data_ref = f"data:{report.data.sha256 or report.data.name}"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, report.digest())}",
        "version": 1,
        "components": [_model(report, data_ref), _data(report, data_ref)],
    }
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _model(report: Report, data_ref: str) -> dict[str, Any]:
    model = report.model
    digests = {"graph": model.graph_sha256, "weights": model.weights_sha256, "report": report.digest()}
    found = {"model": model.sha256, **{name: digest for name, digest in digests.items() if digest}}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.sha256}",
        "name": model.name,
        "properties": [
            *({"name": f"certify:{name}:sha256", "value": digest} for name, digest in sorted(found.items())),
            {"name": "certify:report:status", "value": report.status},
            {"name": "certify:report:complete", "value": str(report.complete).lower()},
            {"name": "certify:attacked-accuracy-is", "value": report.attacked_accuracy_is},
        ],
        "modelCard": {
            "modelParameters": {"task": "classification", "datasets": [{"ref": data_ref}]},
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(report))},
            "considerations": {"technicalLimitations": [*doubts(report), *report.not_claimed]},
        },
    }


def _data(report: Report, data_ref: str) -> dict[str, Any]:
    data = report.data
    contents = {"attachment": {"contentType": "text/plain", "content": f"{data.n} samples"}}
    component: dict[str, Any] = {
        "type": "data",
        "bom-ref": data_ref,
        "name": data.name,
        "data": [{"type": "dataset", "name": data.name, "contents": contents}],
    }
    if data.sha256 is not None:
        component["properties"] = [{"name": "certify:data:sha256", "value": data.sha256}]
    return component


def _metrics(report: Report) -> Iterator[dict[str, Any]]:
    threat = report.threat.perturbation
    for point in report.curve:
        where = f"{threat.name} eps {point.eps:g} ({threat.unit})"
        for name, share in _shares(point):
            yield _metric(name, share, where)
    for model in report.smoothing:
        yield from _certified(model)


def _shares(point: Point) -> list[tuple[str, Share]]:
    return [
        ("clean accuracy", point.clean_accuracy),
        ("attacked accuracy", point.attacked_accuracy),
        ("verified accuracy", point.verified_accuracy),
    ]


def _certified(model: SmoothedModel) -> Iterator[dict[str, Any]]:
    """Where something is said of a population: at the radii of the joint statements."""
    for radius in sorted({each.radius for each in model.guarantees}):
        where = f"smoothed classifier, {model.law}, {model.norm} radius {radius:g}"
        yield _metric("certified accuracy", model.at(radius), where)


def _metric(name: str, share: Share, where: str) -> dict[str, Any]:
    return {
        "type": name,
        "value": repr(share.value),
        "slice": where,
        "confidenceInterval": {"lowerBound": repr(share.low), "upperBound": repr(share.high)},
    }
