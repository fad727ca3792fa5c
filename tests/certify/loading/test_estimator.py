"""Classifiers of scikit-learn against their own decision functions; hostile skops files."""

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from certify.errors import ArtefactRejected
from certify.loading.estimator import skops_io
from certify.model import Model, load

pytest.importorskip("sklearn")
if find_spec("skops") is None:
    pytest.skip("needs skops", allow_module_level=True)

from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier


def samples(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    x = rng.uniform(size=(80, 4)).astype(np.float32)
    return x, ((x - 0.5) @ rng.normal(size=(4, classes))).argmax(1)


def rounded(estimator: Any) -> Any:
    """The estimator with its numbers set to their float32 values."""
    for step in [s for _, s in estimator.steps] if hasattr(estimator, "steps") else [estimator]:
        for name in ("coef_", "intercept_", "mean_", "scale_", "min_"):
            if hasattr(step, name):
                value = getattr(step, name)
                setattr(step, name, np.asarray(value, np.float32).astype(np.float64))
        for name in ("coefs_", "intercepts_"):
            if hasattr(step, name):
                setattr(
                    step, name, [np.asarray(v, np.float32).astype(np.float64) for v in getattr(step, name)]
                )
    return estimator


def mlp(activation: str) -> Callable[[], Any]:
    return lambda: MLPClassifier(
        (6, 5), activation=activation, max_iter=400, solver="lbfgs", random_state=0, alpha=1.0
    )


ESTIMATORS: dict[str, Callable[[], Any]] = {
    "logistic": LogisticRegression,
    "svm": LinearSVC,
    "ridge": RidgeClassifier,
    "sgd": lambda: SGDClassifier(random_state=0),
    "scaled": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "min and max": lambda: make_pipeline(MinMaxScaler(), LogisticRegression()),
    **{f"mlp {name}": mlp(name) for name in ("relu", "tanh", "logistic")},
    "mlp by adam": lambda: MLPClassifier((5,), random_state=0, max_iter=2000, tol=1e-2),
}


def saved(path: Path, estimator: Any) -> Path:
    skops_io().dump(estimator, path)
    return path


def loaded(path: Path) -> Model:
    return load(path, input_shape=(4,), input_range=(0.0, 1.0))


@pytest.mark.filterwarnings("ignore")
def test_loading_the_reader_adds_no_namespaces_of_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would make every later trace slower."""
    for name in [name for name in sys.modules if name.split(".")[0] == "skops"]:
        monkeypatch.delitem(sys.modules, name)
    before = set(vars(torch.ops))
    assert skops_io().loads
    assert set(vars(torch.ops)) == before
    assert sys.modules["torch.ops"] is torch.ops


@pytest.mark.parametrize(
    ("name", "classes"), [*((name, 3) for name in ESTIMATORS), ("svm", 2), ("ridge", 2), ("mlp relu", 2)]
)
def test_a_classifier_decides_as_scikit_learn_does(tmp_path: Path, name: str, classes: int) -> None:
    x, y = samples(classes)
    estimator = rounded(ESTIMATORS[name]().fit(x, y))
    model = loaded(saved(tmp_path / "c.skops", estimator))
    logits = model(torch.from_numpy(x)).double().numpy()
    assert model.num_classes == classes
    assert model.graph is not None
    assert torch.allclose(
        model.graph(torch.from_numpy(x)).flatten(1).double(), torch.from_numpy(logits), atol=1e-4
    )
    exact = x.astype(np.float64)
    if "mlp" in name:
        logits = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        expected = estimator.predict_log_proba(exact)
    else:
        expected = estimator.decision_function(exact)
        expected = np.stack([0 * expected, expected], 1) if classes == 2 else expected
    assert np.abs(logits - expected).max() < 1e-4 * (1 + np.abs(expected).max())


def test_what_float32_does_not_hold_is_refused(tmp_path: Path) -> None:
    x, y = samples(3)
    with pytest.raises(ArtefactRejected, match="float32 does not hold coef_"):
        loaded(saved(tmp_path / "c.skops", LinearSVC().fit(x, y)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x, y: SVC().fit(x, y), "holds a SVC; known are"),
        (lambda x, y: DecisionTreeClassifier().fit(x, y), "Tree would have to run"),
        (lambda x, y: LogisticRegression().fit(x, y + 1), "train it on labels 0, 1, 2"),
        (lambda x, y: LogisticRegression().fit(x, np.array(["a", "b", "c"])[y]), "train it on labels"),
        (lambda x, y: LogisticRegression(), "not fitted"),
        (
            lambda x, y: make_pipeline(MinMaxScaler(clip=True), LogisticRegression()).fit(x, y),
            "step MinMaxScaler",
        ),
        (lambda x, y: {"a": 1}, "holds a builtins.dict"),
    ],
)
def test_other_estimators_are_refused_by_name(
    tmp_path: Path, make: Callable[[np.ndarray, np.ndarray], Any], words: str
) -> None:
    with pytest.raises(ArtefactRejected, match=words):
        loaded(saved(tmp_path / "c.skops", make(*samples(3))))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.skops", rounded(LogisticRegression().fit(*samples(3))))
    good, trace = members(path), tmp_path / "ran"
    array = next(name for name in good if name.endswith(".npy"))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    schema = json.loads(good["schema.json"])
    call = {
        "__class__": "mkdir",
        "__module__": "os",
        "__loader__": "FunctionNode",
        "__id__": 1,
        "content": {"module_path": "os", "function": "mkdir"},
    }
    schema["content"]["content"]["C"] = call
    files = {
        "is compressed": (good, zipfile.ZIP_DEFLATED),
        "leads out": ({**good, "../evil": b""}, zipfile.ZIP_STORED),
        "declares 1000000000000 elements": ({**good, array: header.getvalue()}, zipfile.ZIP_STORED),
        "elements of object": ({**good, array: objects.getvalue()}, zipfile.ZIP_STORED),
        "is no array": ({**good, array: b"x"}, zipfile.ZIP_STORED),
        "os.mkdir": ({**good, "schema.json": json.dumps(schema).encode()}, zipfile.ZIP_STORED),
        "not a skops file": ({**good, "schema.json": b"{" * 10**5}, zipfile.ZIP_STORED),
        "schema.json has more": ({**good, "schema.json": b" " * (2**24 + 1)}, zipfile.ZIP_STORED),
    }
    for words, (content, method) in files.items():
        with pytest.raises(ArtefactRejected) as caught:
            loaded(rewritten(path, content, method))
        assert words in str(caught.value)
    path.write_bytes(b"PK" + os.urandom(50))
    with pytest.raises(ArtefactRejected, match="damaged archive"):
        loaded(path)
    assert not trace.exists()
