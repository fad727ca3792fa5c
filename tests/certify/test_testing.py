"""The pytest plugin, in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

import certify

pytest_plugins = ["pytester"]

SUITE = """
import pytest, torch
from torch import nn
import certify as ct

@pytest.fixture
def case():
    net = nn.Linear(2, 2)
    net.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    net.bias.data = torch.zeros(2)
    x = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.55, 0.5], [0.3, 0.7]])
    return ct.load(net, input_shape=(2,)), x, torch.tensor([0, 1, 0, 1])

def test_holds(case, assert_certified):
    result = assert_certified(*case, ct.Linf(0.1), at_least=0.75)
    assert len(result) == 4

def test_fails(case, assert_certified):
    assert_certified(*case, ct.Linf(0.1), at_least=0.8)

def test_is_not_known_of_the_population(case, assert_certified):
    assert_certified(*case, ct.Linf(0.1), at_least=0.7, confidence=0.95)

def test_is_known_of_the_population(case, assert_certified):
    assert_certified(*case, ct.Linf(0.1), at_least=0.2, confidence=0.95)
"""


def test_the_fixture_passes_and_fails_tests(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(certify.__file__).parents[1]))
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "certify.testing", "-p", "no:xdist")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*3 of 4 samples are verified under Linf(eps=0.1); required is 0.8. Not verified: 2 (falsified)*",
            "*at least 0.2486 at confidence 0.95; required is 0.7*",
        ]
    )


def test_loading_the_plugin_loads_no_engine():
    code = "import sys, certify.testing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_bound_in_the_message_is_the_exact_one():
    # the smallest p with P[Binomial(4, p) >= 3] > 0.05 is 0.2486: 4 p^3 (1 - p) + p^4 = 0.05
    p = 0.2486
    assert 4 * p**3 * (1 - p) + p**4 == pytest.approx(0.05, abs=1e-4)
