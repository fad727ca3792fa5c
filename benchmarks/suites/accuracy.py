"""Verified accuracy of recorded networks at the published budgets, beside what was published."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import certify as ct
from benchmarks.options import BadRequest, Options, Suite
from benchmarks.table import Cell, Row, numbers
from certify.evidence import Decider

LIMIT = 60.0
# Networks without recorded figures, at the budget that the competition of 2021 has for them.
_UNRECORDED = {"eran/mnist_9_200_nat": 0.015}
_IMAGES = 100  # of networks without recorded figures
_MISSING = ("bound", "root", "attack", "domains")
SHOWN = ("net", "sample", "eps", "verdict", "by", "s", *_MISSING)
_CLOSE = (0.1, 0.5)  # bounds of undecided images are counted up to these distances from 0
NOTES = (
    "Per image: attacks and CROWN (`Portfolio`), then `BranchAndBound` on what they leave, at level `real`."
    " SDP networks: the 200 images of Dathathri et al. (2020); others: the first 100 images that the "
    "recorded figures speak of. `published`: the best verified accuracy in the literature on the same "
    "images (Wang et al. 2021, beta-CROWN); `recorded`: images that CROWN or alpha-CROWN of auto_LiRPA "
    "verified. A time limit of 60 s per image, unless the command says another (`--limit`). `--batch N`: "
    "the first N images. `--resume` goes on with an earlier table.",
    "What is missing on undecided images, in units of the margin: `bound`, the worst lower bound of any part "
    "that was open when the time was over, after `domains` parts had been bounded; `root`, the lower bound "
    "before the first cut; `attack`, the least margin at any point that was tried, which the truth is at "
    "most. Each further cut gains less than the last and doubles the number of parts.",
    "The published figures had 180 s per image on a graphics card. Here an image had 30 s of one thread of a "
    "machine with other work, those that an earlier version of the search had decided 10 or 20 s. All "
    "undecided ones but those of mnist_6_100_nat were asked again by the present search, beside two other "
    "programs: none of these verdicts changed. Seven of cifar_cnn_a_adv once had 90 s, which gained 0.004 to "
    "0.02. mnist_9_200_nat comes without figures; its budget is that of the competition of 2021.",
    "Tighter intervals of neurons alone would not prove the undecided images of mnist_cnn_a_adv: with "
    "those between values that attacks attain, tighter than any proof can be, the root is -2.4 instead of "
    "-3.6 on image 8, -0.8 instead of -1.6 on image 17; what is left is lost to lines over single neurons, "
    "1,292 of which are open in the first convolution on image 8. In the deep mnist_6_100_nat intervals are "
    "what is lost: with such ones images 34 and 97 are proved without a cut, whose roots were -4.3 and -14. "
    "So in mnist_9_200_nat, where each layer makes what is lost before it several times as large: 13, 45 and "
    "122 s for neurons take the root of image 4 from -612 to -34, -3.3 and 0.2, that of image 7 from -1007 "
    "to -138, -57 and -31.",
    "What else is known to tighten bounds would gain less. With one layer exact (mixed-integer programs), "
    "which no cuts over several of its neurons can surpass, the root of image 9 of mnist_6_100_nat is -4.6 "
    "or -5.4 instead of -6.1 (first and second layer), that of image 98 -4.3, -4.7 or -4.6 instead of -5.3 "
    "(first to third); tighter neurons gain more than that in a few seconds. To assume that the property "
    "fails makes intervals of the last hidden layer 0 to 8% narrower and all others no narrower (linear "
    "programs, images 9, 84 and 98).",
)
# Verified accuracy on the 200 images, and the accuracy under attack that bounds it from above.
_PUBLISHED = {
    "sdp/mnist_cnn_a_adv": (0.705, 0.765),
    "sdp/cifar_cnn_a_adv": (0.44, 0.50),
    "sdp/cifar_cnn_a_mix4": (0.505, 0.575),
}
_CONV = re.compile(r"conv (\d+) (\d+) k(\d+) s(\d+) p(\d+)")


def _rows(options: Options) -> Iterator[Row]:
    torch.set_num_threads(options.threads)
    nets = {net["name"]: net for net in _recorded(options.data)}
    done = {(row["net"], row["sample"]): row for row in options.done if not _unexplained(row)}
    for name in options.pick(tuple(nets), options.nets, "network"):
        net = nets[name]
        x, y = _images(options.data, net, name in _PUBLISHED)
        count = options.batches[0] if options.batches else len(x)
        model = _model(options.data, net, x)
        for sample in range(min(count, len(x))):
            yield done.get((name, sample)) or _row(net, model, x, y, sample, options.limit or LIMIT)


def _unexplained(row: Row) -> bool:
    """Whether a row, as of an earlier version, leaves open what is missing."""
    return row["verdict"] == ct.Verdict.UNKNOWN.value and row["bound"] is None


def _recorded(data: Path) -> list[dict[str, Any]]:
    """Networks that are chains of layers and have a budget."""
    try:
        nets: list[dict[str, Any]] = json.loads((data / "models" / "models.json").read_text())
    except OSError as error:
        raise BadRequest(f"{error}; point --data at the folder of recorded data") from None
    for net in nets:
        if net["name"] in _UNRECORDED:
            plain = {"n": _IMAGES, "eps": _UNRECORDED[net["name"]], "images": "MNIST test"}
            net.setdefault("reference", plain)
    return [net for net in nets if isinstance(net["arch"], list) and "reference" in net]


def _images(data: Path, net: dict[str, Any], every: bool) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1] and labels."""
    mnist, folder = net["dataset"] == "MNIST", data / "datasets"
    if net["reference"]["images"].startswith("sdp200"):
        part = "mnist" if mnist else "cifar"
        with np.load(folder / "sdp200.npz") as file:
            x, y = file[f"{part}_x"], file[f"{part}_y"]
    else:
        with np.load(folder / "mnist_full.npz") as file:
            x, y = file["x_test"], file["y_test"]
    count = len(x) if every else int(net["reference"]["n"])
    pixels = torch.from_numpy(x[:count]).float() / 255
    pixels = pixels[:, None] if mnist else pixels.permute(0, 3, 1, 2).contiguous()
    return pixels, torch.from_numpy(y[:count]).long()


def _model(data: Path, net: dict[str, Any], x: Tensor) -> ct.Model:
    module = nn.Sequential(*map(_layer, net["arch"]))
    module.load_state_dict(torch.load(data / "models" / net["file"], weights_only=True))
    module.eval().requires_grad_(False)
    return ct.load(module, input_shape=x.shape[1:], mean=net["mean"], std=net["std"], name=net["name"])


def _layer(text: str) -> nn.Module:
    kind, *numbers = text.split()
    if kind == "linear":
        return nn.Linear(int(numbers[0]), int(numbers[1]))
    match = _CONV.fullmatch(text)
    if match:
        channels, out, kernel, stride, padding = map(int, match.groups())
        return nn.Conv2d(channels, out, kernel, stride, padding)
    layers: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "flatten": nn.Flatten}
    if text not in layers:
        raise BadRequest(f"layer {text!r} of a recorded network is not known here")
    return layers[text]()


def _row(
    net: dict[str, Any], model: ct.Model, x: Tensor, y: Tensor, sample: int, limit: float
) -> dict[str, Cell]:
    began = time.monotonic()
    reference, one = net["reference"], slice(sample, sample + 1)
    deciders: list[Decider] = [ct.Portfolio(), ct.BranchAndBound(seconds=limit)]
    threat = ct.Linf(reference["eps"])
    [found] = ct.evaluate(model, x[one], y[one], threat, deciders, samples=[sample]).samples
    detail = found.evidence[-1].detail if found.verdict is ct.Verdict.UNKNOWN else {}
    published, upper = _PUBLISHED.get(net["name"], (None, None))
    known = [reference[key] for key in ("crown", "alpha") if key in reference]
    return {
        "net": net["name"],
        "sample": sample,
        "eps": reference["eps"],
        "verdict": found.verdict.value,
        "by": None if found.by is None else found.by.split("(")[0],
        "s": time.monotonic() - began,
        **{name: detail.get(name) for name in _MISSING},
        "published": published,
        "attacked": upper,
        "recorded": max(known, default=None),
        "recorded images": reference["n"],
    }


def _summary(rows: Sequence[Row]) -> str:
    """Verified accuracy beside what is known of it."""
    counts = Counter(str(row["verdict"]) for row in rows)
    first, n = rows[0], len(rows)
    text = (
        f"Verified {counts['verified']} of {n} ({counts['verified'] / n:.1%}), falsified "
        f"{counts['falsified']}, misclassified {counts['misclassified']}, undecided {counts['unknown']}; "
        f"{sum(float(row['s'] or 0) for row in rows):.0f} s."
    )
    if first["recorded"] is not None:
        text += f" Recorded: {first['recorded']} of the first {first['recorded images']}."
    if first["published"] is None:
        return text
    best, most = (float(first[name] or 0) for name in ("published", "attacked"))
    return f"{text} Published: {best:.1%} of 200, at most {most:.1%}. {_missing(rows)}"


def _missing(rows: Sequence[Row]) -> str:
    """How far from a proof the undecided images are."""
    short = [-bound for bound in numbers(rows, "bound")]
    near, far = (sum(each <= most for each in short) for most in _CLOSE)
    return (
        f"Bounds of undecided images: {near} within {_CLOSE[0]} of 0, {far - near} within {_CLOSE[1]}, "
        f"{len(short) - far} beyond."
    )


SUITE = Suite("Verified accuracy", NOTES, SHOWN, _rows, ("net",), _summary, key=("net", "sample"))
