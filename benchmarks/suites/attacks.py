"""Strength and cost of attacks on recorded networks, beside what other libraries' attacks reached."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import bounds
from benchmarks.baselines.attacks_case import AttackAnswer, AttackCase
from benchmarks.options import BadRequest, Options, Suite
from benchmarks.process import Process, Program, WorkerFailed
from benchmarks.table import Cell, Row
from certify.attacks import APGD, FAB, PGD, AttackEnsemble, Square
from certify.decide import evaluate
from certify.evidence import Decider
from certify.model import GraphForward, Model
from certify.portfolio import Portfolio
from certify.result import Result
from certify.run import Run
from certify.threat import Linf

Record = Mapping[str, float | str]

IMAGES = 100
LIMIT = 3600.0
EPS = {"cifar": 2 / 255, "mnist": 0.3}


@dataclass(frozen=True)
class _Method:
    """One attack in a ball, and how the record's rows of the same method begin ("": there are none)."""

    attack: Decider
    recorded: str


BALL: Mapping[str, _Method] = {
    "PGD-50": _Method(PGD(50), "PGD-50 x1"),
    "APGD-CE": _Method(APGD(), "APGD-CE 100"),
    "APGD-T": _Method(APGD(loss="dlr", targets=9), "APGD-T 9x100"),
    "APGD-T, published": _Method(APGD(100, 1, "dlr", targets=9, probes=0), ""),
    "FAB-T": _Method(FAB(targets=9), ""),
    "Square": _Method(Square(), ""),
    "AutoAttack": _Method(AttackEnsemble("standard"), "AutoAttack std"),
    "Portfolio": _Method(Portfolio(), ""),
}
SHOWN = (
    "net",
    "threat",
    "attack",
    "by",
    "robust accuracy",
    "seconds",
    "cpu s",
    "forwards",
    "backwards",
    "problem",
)
NOTES = (
    f"CNN-A-Adv for CIFAR-10 and MNIST, the first {IMAGES} images of each recorded file in one batch, wrong "
    "ones counted as not robust. `recorded` rows were measured by the libraries' own runs elsewhere, on one "
    "thread, so their seconds are not to be compared with ours. A peer without "
    '"recorded" ran here, right before ours.',
    "robust accuracy: share of images that stay right; every counterexample of ours was replayed, and none "
    "lies outside the ball. seconds: of all images. cpu s: processor time, which other programs on the "
    "machine disturb less. forwards, backwards: passes per image, averaged over all images.",
    "APGD-CE and APGD-T of ours make as many passes as the published 1 x 100 and 9 x 100, and begin where "
    'the mean gradient points (`APGD`); "APGD-T, published" has the authors\' constants, as AutoAttack has.',
    "AutoAttack of ours is the `AttackEnsemble` with the published constants, as the peers' are; `Portfolio` "
    "is the toolkit's own answer: it certifies, too, and spares what is settled the dear attacks. "
    "torchattacks's AutoAttack makes a tenth of the published steps in its targeted attacks.",
)


def _suite_rows(options: Options) -> Iterator[Row]:
    folder = options.data / "attacks"
    recorded = read_record(folder)
    torch.set_num_threads(options.threads)
    for net in options.pick(tuple(EPS), options.nets, "network"):
        for name in options.pick(tuple(BALL), options.methods, "method"):
            method = BALL[name]
            yield from _recorded_rows(net, name, method, recorded)
            if name == "AutoAttack" and options.peer_python is not None:
                yield _live_row(net, name, folder, options)
            yield _our_row(net, name, method, folder)


def _recorded_rows(net: str, name: str, method: _Method, recorded: Sequence[Record]) -> Iterator[Row]:
    for each in recorded:
        same = (each["task"], each["kind"]) == (net, "linf")
        same = same and method.recorded != "" and str(each["attack"]).startswith(method.recorded)
        if same and math.isclose(float(each["eps"]), EPS[net]):
            answer = AttackAnswer(
                float(each["robust_acc"]),
                float(each["seconds"]),
                math.nan,
                float(each["fwd_per_sample"]),
                float(each["bwd_per_sample"]),
            )
            yield _row(net, name, f"{each['lib']}, recorded", answer)


def _live_row(net: str, name: str, folder: Path, options: Options) -> Row:
    case = AttackCase(
        str(folder / f"{net}_cnn_a_adv.onnx"),
        str(folder / f"{net}_cnn_a_adv.npz"),
        "Linf",
        EPS[net],
        IMAGES,
        options.threads,
    )
    program = Program(str(options.peer_python), "attacks_peer")
    with Process(program, options.threads) as process:
        said = process.ask(case.line(), options.limit or LIMIT)
    answer = AttackAnswer(error=said.reason) if isinstance(said, WorkerFailed) else AttackAnswer.read(said)
    return _row(net, name, "pyautoattack", answer)


def _our_row(net: str, name: str, method: _Method, folder: Path) -> Row:
    model, x, y = recorded_case(net, folder)
    wall, cpu = time.perf_counter(), time.process_time()
    result = evaluate(model, x, y, Linf(EPS[net]), [method.attack], run=Run(batch_size=IMAGES))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    forwards, backwards = (_passes(result, key) for key in ("forwards", "backwards"))
    return _row(net, name, "ours", AttackAnswer(result.robust_accuracy[1], wall, cpu, forwards, backwards))


def recorded_case(net: str, folder: Path) -> tuple[Model, Tensor, Tensor]:
    """The network, its first images and their labels."""
    graph = bounds.read_onnx(folder / f"{net}_cnn_a_adv.onnx")
    model = Model(GraphForward(graph), graph, graph.input_shape, 10, (0.0, 1.0), net, graph.digest())
    with np.load(folder / f"{net}_cnn_a_adv.npz") as data:
        x, y = (torch.from_numpy(data[key][:IMAGES]) for key in ("x", "y"))
    model(x)  # so that libraries are loaded
    return model, x, y


def read_record(folder: Path) -> list[Record]:
    """What other libraries reached; ``BadRequest`` where that is missing."""
    try:
        rows: list[Record] = json.loads((folder / "peer.json").read_text())
    except OSError as error:
        raise BadRequest(f"{error}; point --data at the folder of recorded data") from None
    return rows


def _passes(result: Result, key: str) -> float:
    """Per image, over all images."""
    return sum(float(e.detail.get(key, 0)) for s in result.samples for e in s.evidence) / len(result.samples)


def _row(net: str, name: str, by: str, answer: AttackAnswer) -> Row:
    row: dict[str, Cell] = dict.fromkeys(SHOWN)
    row |= {"net": net, "threat": f"Linf {EPS[net]:.3g}", "attack": name, "by": by, "problem": answer.error}
    if answer.error is None:
        row |= {
            "robust accuracy": answer.robust_accuracy,
            "seconds": answer.seconds,
            "cpu s": None if math.isnan(answer.cpu_seconds) else answer.cpu_seconds,
            "forwards": answer.forwards,
            "backwards": answer.backwards,
        }
    return row


SUITE = Suite("Attacks beside other libraries'", NOTES, SHOWN, _suite_rows, ("net", "threat"))
