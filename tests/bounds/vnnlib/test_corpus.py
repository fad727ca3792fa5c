"""The properties of the VNN-COMP benchmarks, and their published witnesses replayed on onnxruntime."""

import csv
import gzip
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bounds.sets import Box
from bounds.vnnlib import read_vnnlib

# Benchmarks whose files are small; the others are read under -m slow.
SMALL = {"acasxu", "rl_benchmarks", "reach_prob_density", "safenlp", "test", "tllverifybench"}
Rows = list[dict[str, str]]


def instances(data_dir: Path, small: bool) -> Rows:
    with (data_dir / "vnncomp" / "manifest.csv").open() as file:
        return [row for row in csv.DictReader(file) if (row["benchmark"] in SMALL) == small]


def check_reads(folder: Path, rows: Rows) -> int:
    names = sorted({row["vnnlib"] for row in rows})
    for name in names:
        region, spec = read_vnnlib(folder / name)
        text = gzip.decompress((folder / name).read_bytes()).decode()
        assert region.shape == (text.count("declare-const X_"),)
        assert spec.num_outputs == text.count("declare-const Y_")
        assert len(region) == len(spec.matrix)
    return len(names)


def near(region: Box, x: torch.Tensor) -> torch.Tensor:
    """Which boxes hold the float32 point, to one float32 ulp (pinned inputs are often no float32 numbers)."""
    inf = torch.full_like(x, torch.inf)
    high, low = torch.nextafter(x, inf).double(), torch.nextafter(x, -inf).double()
    return ((high >= region.lower) & (low <= region.upper)).all(1)


def check_witnesses(folder: Path, rows: Rows) -> int:
    witnesses = np.load(folder / "witnesses.npz")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    rows = [row for row in rows if row["witness"]]
    for row in rows:
        region, spec = read_vnnlib(folder / row["vnnlib"])
        network = gzip.decompress((folder / row["onnx"]).read_bytes())
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        x = witnesses[row["witness"]]
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in source.shape]
        y = session.run(None, {source.name: x.reshape(shape)})[0]
        inside = near(region, torch.from_numpy(x))
        outputs = torch.from_numpy(y).double().reshape(1, -1).expand(len(region), -1)
        violated = spec.worst(spec.evaluate(outputs)) <= 0
        assert (inside & violated).any(), row
    return len(rows)


def test_small_properties_read(data_dir: Path) -> None:
    assert check_reads(data_dir / "vnncomp", instances(data_dir, small=True)) == 88


def test_small_witnesses_violate(data_dir: Path) -> None:
    assert check_witnesses(data_dir / "vnncomp", instances(data_dir, small=True)) == 59


@pytest.mark.slow
def test_large_properties_read(data_dir: Path) -> None:
    assert check_reads(data_dir / "vnncomp", instances(data_dir, small=False)) == 263


@pytest.mark.slow
def test_large_witnesses_violate(data_dir: Path) -> None:
    assert check_witnesses(data_dir / "vnncomp", instances(data_dir, small=False)) == 81
