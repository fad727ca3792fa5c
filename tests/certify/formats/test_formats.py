"""Machine formats, read back by the readers that they are written for."""

import datetime
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from junitparser import Error, Failure, JUnitXml, Skipped
from torch import nn

import certify as ct
from bounds import read_vnnlib
from certify.errors import UsageError
from certify.formats import junit, mlbom, not_expressible, query_text, result_text
from certify.gate import Policy, judge
from certify.threat import THREATS
from tests.certify.gate.test_rules import smoothed
from tests.certify.reports import report

TODAY = datetime.date(2026, 6, 1)
RULES = [
    {"id": "good", "kind": "clean-accuracy", "at_least": 0.5},
    {"id": "bad & <odd>", "kind": "verified-accuracy", "norm": "linf", "eps": 0.1, "at_least": 0.9},
    {"id": "open", "kind": "gap", "norm": "linf", "eps": 0.7, "at_most": 0.9},
    {"id": "waived", "kind": "unknown-rate", "norm": "linf", "eps": 0.1, "at_most": 0.01},
]
WAIVER = {"rule": "waived", "reason": "\x1b known", "owner": "Ada", "expires": TODAY}


def test_junit_is_read_by_its_parser(tmp_path):
    policy = Policy.model_validate({"name": "p", "rules": RULES, "waivers": [WAIVER]})
    path = tmp_path / "junit.xml"
    path.write_bytes(junit(judge(report({0.1: "v" * 20 + "u" * 20}), policy, TODAY)))
    (suite,) = JUnitXml.fromfile(str(path))
    kinds = {case.name: [type(each) for each in case.result] for case in suite}
    assert kinds == {
        "good": [],
        "bad & <odd>": [Failure],
        "open": [Error],
        "waived": [Skipped],
        "profile:complete": [],
    }
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 1, 1, 1)
    assert "20 of 40" in next(case for case in suite if case.name == "bad & <odd>").result[0].message


def test_junit_of_a_run_that_evaluated_nothing_is_a_failure(tmp_path):
    policy = Policy.model_validate({"name": "p", "rules": RULES})
    path = tmp_path / "junit.xml"
    path.write_bytes(junit(judge(report({0.1: "eee"}), policy, TODAY)))
    (suite,) = JUnitXml.fromfile(str(path))
    assert (suite.tests, suite.failures) == (1, 1)


def test_the_bom_follows_the_official_schema_and_tells_the_rates():
    made = report({0.1: "vvfum", 0.2: "vfffm"}, smoothing=(smoothed([0.5, 0.2]),))
    text = mlbom(made)
    assert text == mlbom(made)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    model, data = json.loads(text)["components"]
    assert (model["type"], data["type"]) == ("machine-learning-model", "data")
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    found = {(each["type"], each["slice"].split(" (")[0]): float(each["value"]) for each in metrics}
    assert found["verified accuracy", "linf eps 0.1"] == 2 / 5
    assert found["attacked accuracy", "linf eps 0.2"] == 1 / 5
    assert found["clean accuracy", "linf eps 0.2"] == 4 / 5


def test_the_bom_tells_what_puts_its_numbers_in_doubt():
    unfinished = json.loads(mlbom(report({0.1: "vv"}, complete=False, attacked_accuracy_is="unreliable")))
    model = unfinished["components"][0]
    told = {each["name"]: each["value"] for each in model["properties"]}
    assert told["certify:report:complete"] == "false"
    assert told["certify:attacked-accuracy-is"] == "unreliable"
    assert "not finished" in model["modelCard"]["considerations"]["technicalLimitations"][0]


def test_a_bad_bom_is_refused_by_the_validator():
    broken = json.loads(mlbom(report({0.1: "v"})))
    broken["components"][0]["modelCard"]["surplus"] = 1
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(broken)) is not None


@pytest.fixture
def model():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    values = iter(np.random.default_rng(3).normal(size=100).astype(np.float32).tolist())
    for parameter in net.parameters():
        flat = torch.tensor([next(values) for _ in range(parameter.numel())])
        parameter.data = flat.view(parameter.shape)
    return ct.load(net, input_shape=(3,), input_range=(-1.0, 1.0))


@pytest.mark.parametrize("eps", [0.1, 1 / 3, 1e-9])
def test_a_query_reads_back_as_what_was_asked(model, tmp_path, eps):
    x = torch.tensor([0.1, -0.7, 0.95])
    y = int(model(x[None]).argmax())
    path = tmp_path / "query.vnnlib"
    path.write_text(query_text(model, x, y, ct.Linf(eps)))
    region, spec = read_vnnlib(path)
    for i, value in enumerate(x.tolist()):
        low = max(Fraction(value) - Fraction(eps), Fraction(-1))
        high = min(Fraction(value) + Fraction(eps), Fraction(1))
        for bound, exact in ((region.lower[0, i], low), (region.upper[0, i], high)):
            assert abs(Fraction(float(bound)) - exact) <= Fraction(np.spacing(abs(float(bound))))
        assert Fraction(float(region.lower[0, i])) <= low
        assert Fraction(float(region.upper[0, i])) >= high
    # the property holds at an output exactly where the label is the only largest
    for outputs in torch.tensor(np.random.default_rng(0).integers(-2, 3, size=(50, 3)).astype(float)):
        unique = bool((outputs[y] > outputs[torch.arange(3) != y]).all())
        assert bool(spec.worst(spec.evaluate(outputs[None])) > 0) == unique


def test_counterexamples_break_the_query_that_they_belong_to(model, tmp_path):
    x = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = model(x).argmax(1)
    result = ct.evaluate(model, x, y, ct.Linf(0.2), [ct.PGD(), ct.CROWN()])
    falsified = [s for s in result.samples if s.witness is not None]
    assert falsified
    for each in falsified:
        path = tmp_path / "query.vnnlib"
        path.write_text(query_text(model, x[each.sample], int(y[each.sample]), ct.Linf(0.2)))
        region, spec = read_vnnlib(path)
        first, *rest = result_text(model, each.witness, False).splitlines()
        assert first == "sat"
        values = dict(line.strip(" ()").split(" ") for line in rest)
        point = torch.tensor([[float(values[f"X_{i}"]) for i in range(3)]], dtype=torch.float64)
        outputs = torch.tensor([[float(values[f"Y_{j}"]) for j in range(3)]], dtype=torch.float64)
        assert bool(region.contains(point))
        assert bool(spec.worst(spec.evaluate(outputs)) <= 0)
    assert result_text(model, torch.full((3,), torch.nan), False) == "unknown\n"
    assert result_text(model, None, True) == "unsat\n"
    assert result_text(model, None, False) == "unknown\n"


@pytest.mark.parametrize("name", sorted(THREATS.keys() - {"linf"}))
def test_threats_that_are_no_box_are_refused_with_the_reason(model, name):
    threat = THREATS[name](1)
    with pytest.raises(
        UsageError, match=r"cannot be written in VNN-LIB 1\.0: .*; export a run with norm"
    ) as error:
        query_text(model, torch.zeros(3), 0, threat)
    assert repr(threat) in str(error.value)
    assert not_expressible(ct.Linf(0.1)) is None
