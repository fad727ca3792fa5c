"""Data files: what is read is what was saved, and nothing else is read."""

import numpy as np
import pytest
import torch

from certify.dataset import load_npz
from certify.errors import ArtefactRejected, UsageError

X = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
Y = np.array([0, 1, 2, 1])


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_the_first_samples_come_back(tmp_path):
    data = load_npz(save(tmp_path / "d.npz", x=X, y=Y), limit=3)
    assert torch.equal(data.x, torch.from_numpy(X[:3]))
    assert data.y.tolist() == [0, 1, 2]
    assert (data.x.dtype, data.y.dtype, len(data), data.name) == (torch.float32, torch.int64, 3, "d.npz")


def test_the_digest_depends_on_the_samples_taken_alone(tmp_path):
    whole = save(tmp_path / "a.npz", x=X, y=Y)
    wide = save(tmp_path / "b.npz", images=X.astype(np.float64), labels=Y.astype(np.uint8), other=Y)
    assert load_npz(whole).digest == load_npz(wide, "images", "labels").digest
    assert load_npz(whole).digest != load_npz(whole, limit=3).digest
    moved = X.copy()
    moved[2, 3] = np.nextafter(moved[2, 3], 1)
    assert load_npz(whole).digest != load_npz(save(tmp_path / "c.npz", x=moved, y=Y)).digest
    assert load_npz(whole).digest != load_npz(save(tmp_path / "d.npz", x=X, y=Y[::-1])).digest
    folded = save(tmp_path / "e.npz", x=X.reshape(4, 2, 3), y=Y)
    assert load_npz(whole).digest != load_npz(folded).digest


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "no 'y'"),
        ({"x": (X * 255).astype(np.uint8), "y": Y}, "uint8"),
        ({"x": X, "y": Y.astype(np.float32)}, "float32"),
        ({"x": X, "y": Y[:3]}, r"\(4, 6\) and y \(3,\)"),
        ({"x": X, "y": np.eye(4, dtype=int)}, "one label per sample"),
        ({"x": X[:0], "y": Y[:0]}, "no samples"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    with pytest.raises(UsageError, match=message):
        load_npz(save(tmp_path / "d.npz", **arrays))


def test_files_that_are_no_npz_are_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    pickled = save(tmp_path / "pickled.npz", x=np.array([Bomb()], dtype=object), y=Y)
    truncated = save(tmp_path / "truncated.npz", x=X, y=Y)
    truncated.write_bytes(truncated.read_bytes()[:300])
    text = tmp_path / "text.npz"
    text.write_text("x = 1")
    for path in (pickled, truncated, text, tmp_path, tmp_path / "missing.npz"):
        with pytest.raises(ArtefactRejected, match=path.name):
            load_npz(path)
    assert not (tmp_path / "ran").exists()
    np.save(tmp_path / "single.npy", X)
    with pytest.raises(UsageError, match="single array"):
        load_npz(tmp_path / "single.npy")
