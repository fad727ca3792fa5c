"""The judge: clean predictions, replay, margins, contradictions and figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import bounds
from bounds.rounding import Arithmetic, Level
from certify.attacks import FGSM, PGD
from certify.decide import evaluate, evaluate_batch, proves, queries, refutes
from certify.deterministic import CROWN, IBP
from certify.errors import CertifyError, Contradiction, Exit, UsageError
from certify.evidence import Claim, Decider, Evidence
from certify.query import Query
from certify.result import Result, SampleResult
from certify.run import Run
from certify.threat import L2, Linf
from certify.verdict import Verdict
from tests.certify.toys import mlp, model_of, right_answers, uniform

THREAT = Linf(0.25)
X = torch.tensor([[0.1], [0.4], [0.6], [0.9]])
Y = torch.tensor([0, 0, 1, 1])


def halves(x: Tensor) -> Tensor:
    """Class 1 where the input is > 0.5: of X, samples 1 and 2 can be attacked at eps 0.25."""
    return torch.cat([0.5 - x, x - 0.5], dim=1)


MODEL = model_of(halves, (1,), 2, (0.0, 1.0))


@dataclass(frozen=True)
class Fixed:
    """A decider that says what it is told: one margin, or one witness per sample id."""

    margin: float | None = None
    level: Level | None = Level.REAL
    alpha: float = 0.0
    witness: Callable[[int], Tensor] | None = None
    claims: frozenset[Claim] = frozenset(Claim)
    only: tuple[int, ...] = (0, 1, 2, 3)

    def supports(self, query: Query) -> str | None:
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        return [self._answer(s) if s in self.only else Evidence(s, repr(self)) for s in query.samples]

    def _answer(self, sample: int) -> Evidence:
        witness = None if self.witness is None else self.witness(sample)
        return Evidence(sample, repr(self), self.margin, self.level, witness, self.alpha)


def liar(only: tuple[int, ...] = (0, 1, 2, 3)) -> Fixed:
    return Fixed(margin=1.0, claims=frozenset({Claim.ROBUST}), only=only)


def judge(*deciders: Decider, **options: object) -> Result:
    return evaluate(MODEL, X, Y, THREAT, deciders, **options)


def verdicts(result: Result) -> str:
    return "".join(each.verdict.value[0] for each in result.samples)


# --- verdicts and figures


def test_a_small_data_set_from_end_to_end() -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(60, 2, seed=5, dtype=torch.float32)
    y = right_answers(model, x)
    y[:6] = (y[:6] + 1) % 3
    result = evaluate(model, x, y, L2(0.08), [PGD(20), IBP(), CROWN()], run=Run(batch_size=16))
    counts = result.counts
    assert sum(counts.values()) == len(result) == 60
    assert counts[Verdict.MISCLASSIFIED] == 6
    assert counts[Verdict.ERROR] == 0
    assert min(counts[v] for v in (Verdict.FALSIFIED, Verdict.VERIFIED)) > 5
    assert result.clean_accuracy == 54 / 60
    assert result.verified_accuracy == counts[Verdict.VERIFIED] / 60
    assert result.robust_accuracy == (
        counts[Verdict.VERIFIED] / 60,
        1 - (counts[Verdict.MISCLASSIFIED] + counts[Verdict.FALSIFIED]) / 60,
    )
    assert result.undecided == counts[Verdict.UNKNOWN]
    assert result.arithmetic is Arithmetic.ROUNDED
    for each in result.samples:
        assert each.label == int(y[each.sample])
        assert each.predicted == int(model(x[each.sample : each.sample + 1]).argmax())
        assert (each.verdict is Verdict.FALSIFIED) == (each.witness is not None)
        if each.verdict is Verdict.VERIFIED:
            assert each.by in (repr(IBP()), repr(CROWN()))
            assert each.level is Level.REAL
            assert each.margin is not None
            attack = next(e for e in each.evidence if e.decider == repr(PGD(20)))
            assert 0 < each.margin <= attack.detail["smallest_margin"] + 1e-6  # as float32 sees it


def test_batches_and_order_change_nothing() -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(30, 2, seed=9)
    y = right_answers(model, x)

    def by_id(order: Tensor, batch_size: int) -> dict[int, tuple[Verdict, str | None]]:
        result = evaluate(
            model, x[order], y[order], Linf(0.1), [PGD(10), CROWN()],
            run=Run(batch_size=batch_size), samples=order.tolist(),
        )  # fmt: skip
        return {each.sample: (each.verdict, each.by) for each in result.samples}

    whole = by_id(torch.arange(30), 30)
    assert len(set(whole.values())) > 1
    assert by_id(torch.arange(30), 1) == whole
    assert by_id(torch.arange(30).flip(0), 7) == whole


def test_printed_interval_is_rounded_outward() -> None:
    def result(counts: dict[Verdict, int], level: Level = Level.REAL, alpha: float = 0.0) -> Result:
        kinds = [verdict for verdict, count in counts.items() for _ in range(count)]
        samples = tuple(SampleResult(i, 0, 0, v, level=level, alpha=alpha) for i, v in enumerate(kinds))
        return Result("toy", "0", THREAT, (), samples)

    V, F, U, M, E = (Verdict(v) for v in ("verified", "falsified", "unknown", "misclassified", "error"))
    assert str(result({V: 61, U: 3, F: 30, M: 6})) == (
        "robust accuracy in [0.61, 0.64]; 3 of 100 undecided; arithmetic ROUNDED"
    )
    assert str(result({V: 2, E: 1}, Level.FLOAT)) == (
        "robust accuracy in [0.6666, 1]; 1 of 3 undecided; arithmetic FLOAT"
    )
    assert "[0.3333, 0.3334]" in str(result({V: 1, F: 1, M: 1}))
    assert str(result({V: 1}, alpha=0.01)).endswith("alpha 0.01 per sample")
    assert str(result({M: 4})).startswith("robust accuracy in [0, 0]; 0 of 4 undecided")


def test_the_weakest_arithmetic_of_the_verified_samples_is_told() -> None:
    mixed = [Fixed(1.0, Level.FLOAT, only=(0,)), Fixed(1.0, Level.DEPLOYED, only=(3,)), PGD(5)]
    assert judge(*mixed).arithmetic is Arithmetic.FLOAT
    assert judge(*mixed[1:]).arithmetic is Arithmetic.ROUNDED


def test_a_tie_or_nan_is_misclassified_and_nobody_is_asked() -> None:
    def forward(x: Tensor) -> Tensor:
        return torch.cat([torch.where(x > 0.8, torch.nan, 1.0), torch.ones_like(x)], dim=1)

    result = evaluate(model_of(forward, (1,)), X, torch.tensor([0, 1, 0, 0]), THREAT, [liar()])
    assert verdicts(result) == "mmmm"
    assert result.clean_accuracy == 0
    assert all(not each.evidence and each.by is None for each in result.samples)


def test_one_ulp_decides_the_clean_prediction() -> None:
    above = math.nextafter(1.0, 2.0)

    def forward(x: Tensor) -> Tensor:
        return torch.cat([torch.full_like(x, 1.0), x], dim=1)

    x = torch.tensor([[1.0], [above]], dtype=torch.float64)
    result = evaluate(model_of(forward, (1,)), x, torch.tensor([1, 1]), Linf(0.0), [liar()])
    assert verdicts(result) == "mv"


# --- margins


@pytest.mark.parametrize("margin", [math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, None])
def test_only_finite_positive_margins_prove(margin: float | None) -> None:
    assert verdicts(judge(Fixed(margin))) == "uuuu"


def test_a_margin_needs_a_level_or_a_failure_probability_and_the_claim() -> None:
    assert not proves(Evidence(0, "d", 1.0))
    assert not proves(Evidence(0, "d", 1.0, alpha=1.0))
    assert proves(Evidence(0, "d", 5e-324, Level.FLOAT))
    assert proves(Evidence(0, "d", 1.0, alpha=0.001))
    assert verdicts(judge(Fixed(1.0, claims=frozenset({Claim.FALSIFIED})))) == "uuuu"


def test_unsettled_samples_report_their_best_finite_margin() -> None:
    (first, *_) = judge(
        Fixed(-2.0), Fixed(-1.0, Level.DEPLOYED), Fixed(math.nan), Fixed(None), Fixed(-math.inf)
    ).samples
    assert (first.margin, first.level) == (-1.0, Level.DEPLOYED)
    assert len(first.evidence) == 5


# --- replay


def moved(step: float) -> Callable[[int], Tensor]:
    """The sample's input moved by a step towards the other class."""
    return lambda sample: X[sample] + (step if sample < 2 else -step)


def test_true_witnesses_are_kept_as_replayed() -> None:
    result = judge(Fixed(witness=moved(0.2)))
    assert verdicts(result) == "uffu"
    assert result.samples[1].witness is not None
    torch.testing.assert_close(result.samples[1].witness, X[1] + 0.2, rtol=0, atol=0)
    assert result.samples[0].evidence[0].detail["replay"] == "rejected"
    assert result.samples[0].evidence[0].witness is None


@pytest.mark.parametrize("step", [0.0, 0.05, 0.2500001, 0.3, 10.0, math.nan, -math.inf])
def test_false_witnesses_are_rejected(step: float) -> None:
    """Not misclassified, or outside the ball by less than any tolerance, or no number."""
    assert verdicts(judge(Fixed(witness=moved(step)))) == "uuuu"


def test_a_witness_outside_the_input_range_is_rejected() -> None:
    x, y = torch.tensor([[0.9]]), torch.tensor([0])
    model = model_of(lambda z: torch.cat([1 - z, 0 * z], dim=1), (1,), 2, (0.0, 1.0))
    outside = Fixed(witness=lambda _: torch.tensor([1.05]))
    assert verdicts(evaluate(model, x, y, THREAT, [outside])) == "u"
    tied = Fixed(witness=lambda _: torch.tensor([1.0]))  # inside, and a tie is not robust
    assert verdicts(evaluate(model, x, y, THREAT, [tied])) == "f"


def test_replay_judges_general_specifications() -> None:
    spec = bounds.Spec(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0, 0]]))
    region = bounds.Box(torch.tensor([[-1.0]]).expand(4, 1), torch.tensor([[3.0]]).expand(4, 1))
    points = torch.tensor([[-0.5], [4.0], [2.0], [torch.nan]])
    assert refutes(lambda z: z, region, spec, points).tolist() == [False, False, False, False]
    both = bounds.Spec(spec.matrix, spec.offset)  # 0 < y < 1
    assert refutes(lambda z: z, region, both, points).tolist() == [True, False, True, False]


# --- contradictions


def test_a_lying_certifier_is_found_out() -> None:
    with pytest.raises(Contradiction) as caught:
        judge(liar(), PGD(10))
    error = caught.value
    assert error.exit_code is Exit.SOUNDNESS_VIOLATION
    assert error.sample in (1, 2)
    assert error.y == int(Y[error.sample])
    torch.testing.assert_close(error.x, X[error.sample])
    region = THREAT.around(error.x[None], (0.0, 1.0))
    spec = bounds.margins(torch.tensor([error.y]), 2)
    assert refutes(halves, region, spec, error.witness[None]).all()
    for part in (f"sample {error.sample}", "Fixed(margin=1.0", "PGD(steps=10", "level real"):
        assert part in str(error)


def test_certificates_are_attacked_unless_one_asks_otherwise() -> None:
    with pytest.raises(Contradiction):
        judge(liar(only=(1,)), Fixed(-1.0, claims=frozenset({Claim.ROBUST})), FGSM())
    both = Fixed(1.0, witness=moved(0.2), only=(1,))
    with pytest.raises(Contradiction, match="sample 1"):
        judge(both)
    assert verdicts(judge(liar(), PGD(10), cross_check=False)) == "vvvv"


def test_certifiers_are_not_asked_about_settled_samples() -> None:
    result = judge(PGD(10), liar(only=(0,)), Fixed(-1.0, claims=frozenset(Claim)), PGD(5))
    asked = [[each.decider.split("(")[0] for each in sample.evidence] for sample in result.samples]
    assert asked == [["PGD", "Fixed", "PGD"], ["PGD"], ["PGD"], ["PGD", "Fixed", "Fixed", "PGD"]]
    assert verdicts(result) == "vffu"


# --- deciders that fail


@dataclass(frozen=True)
class Broken:
    """A decider that raises, refuses, or answers for the wrong samples."""

    error: Exception | None = None
    reason: str | None = None
    answer: tuple[Evidence, ...] = ()
    claims: frozenset[Claim] = frozenset(Claim)

    def supports(self, query: Query) -> str | None:
        return self.reason

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        if self.error is not None:
            raise self.error
        return list(self.answer)


def test_unsupported_queries_are_refused_before_any_work() -> None:
    calls: list[int] = []
    model = model_of(lambda z: calls.append(len(z)) or halves(z), (1,))
    with pytest.raises(UsageError, match=r"Broken.*cannot answer: operator Foo of node 'a'"):
        evaluate(model, X, Y, THREAT, [liar(), Broken(reason="operator Foo of node 'a' is unknown")])
    assert not calls
    with pytest.raises(UsageError, match="no graph"):
        evaluate(MODEL, X, Y, THREAT, [CROWN()])


def test_a_failing_bound_is_kept_as_evidence() -> None:
    failing = Broken(error=bounds.InvalidInput("a sum is too long"))
    alone = judge(failing)
    assert verdicts(alone) == "eeee"
    assert alone.samples[0].evidence[0].detail["error"] == "a sum is too long"
    assert alone.undecided == 4
    assert verdicts(judge(failing, PGD(10))) == "uffu"
    assert verdicts(judge(failing, liar(only=(0, 3)))) == "vuuv"


def test_other_failures_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        judge(Broken(error=ZeroDivisionError()))
    for answer in ((), tuple(Evidence(s, "d") for s in (1, 0, 2, 3))):
        with pytest.raises(CertifyError, match="each sample in order"):
            judge(Broken(answer=answer))
    shape = tuple(Evidence(s, "d", witness=torch.zeros(2, 2)) for s in range(4))
    with pytest.raises(CertifyError, match="shape"):
        judge(Broken(answer=shape))


# --- batches


def test_batches_are_cut_by_index_and_reported() -> None:
    heard: list[tuple[int, list[int]]] = []
    progress: list[tuple[str, int, int]] = []
    run = Run(batch_size=3, progress=lambda *each: progress.append(each))
    result = judge(
        PGD(10), run=run, samples=(7, 5, 3, 1), on_batch=lambda i, r: heard.append((i, [s.sample for s in r]))
    )
    assert heard == [(0, [7, 5, 3]), (1, [1])]
    assert progress == [("evaluate", 0, 4), ("evaluate", 3, 4), ("evaluate", 4, 4)]
    parts = [
        evaluate_batch(q, [PGD(10)], run) for q in queries(MODEL, X, Y, THREAT, run, samples=(7, 5, 3, 1))
    ]
    again = [each for part in parts for each in part]
    assert [(e.sample, e.verdict) for e in again] == [(e.sample, e.verdict) for e in result.samples]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": (1, 2, 3)}, "3 sample ids for 4"),
        ({"samples": (1, 2, 3, 3)}, "id 3 occurs twice"),
        ({"x": X[:0], "y": Y[:0]}, "no samples"),
        ({"x": X.clone().index_fill_(0, torch.tensor([2]), torch.nan)}, "sample 2 of x holds NaN"),
        ({"x": X + 1}, "outside the model's input range"),
        ({"y": torch.tensor([0, 0, 1, 2])}, "label 2 of sample 3 is out of range"),
        ({"deciders": []}, "no deciders"),
        ({"model": model_of(lambda z: z, (1,))}, "one logit per class"),
    ],
)
def test_bad_input_is_one_clear_line(change: dict[str, object], message: str) -> None:
    arguments = {"model": MODEL, "x": X, "y": Y, "threat": THREAT, "deciders": [liar()], **change}
    with pytest.raises(UsageError, match=message) as caught:
        evaluate(**arguments)
    assert "\n" not in str(caught.value)
